"""Observers of suppliers: they are told how each call ended, and how long it took."""

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
"""It is called when a call is over. The last argument is the call's time in seconds."""

Answer = TypeVar("Answer")


async def observed(
    observer: Observer | None, kind: Kind, call: Call, answering: Awaitable[Answer]
) -> Answer:
    """Return the answer to a call, and tell the observer of it."""
    if observer is None:
        return await answering
    begun = time.perf_counter()
    # So it stays for a cancelled call, and for any other exception.
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
