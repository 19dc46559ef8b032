"""What an observer is told of each call of a supplier: its answer, and how long that took."""

import time
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

from shared import Kind
from suppliers.port import Confirmed, Pending, Refused, Unavailable

Call = Literal["book", "cancel", "find"]

Outcome = Literal[
    "confirmed", "pending", "released", "not_found", "refused", "unknown", "unavailable"
]

Observer = Callable[[Kind, Call, Outcome, float], object]
"""Is told of each call when it is over. The last argument is its time in seconds."""

Answer = TypeVar("Answer")


async def observed(
    observer: Observer | None, kind: Kind, call: Call, answering: Awaitable[Answer]
) -> Answer:
    """Return the answer to a call, and tell the observer of it."""
    if observer is None:
        return await answering
    begun = time.perf_counter()
    # Stays so for a call that is given up, and for one that raises what no supplier may raise.
    outcome: Outcome = "unknown"
    try:
        answer = await answering
        outcome = _meaning_of(answer)
    except Refused:
        outcome = "refused"
        raise
    except Unavailable:
        outcome = "unavailable"
        raise
    else:
        return answer
    finally:
        observer(kind, call, outcome, time.perf_counter() - begun)


def _meaning_of(answer: object) -> Outcome:
    match answer:
        case Confirmed():
            return "confirmed"
        case Pending():
            return "pending"
        case None:
            return "not_found"
    return "released"
