"""Observers of suppliers: they are told how each call ended, and how long it took."""

import time
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

from shared import Kind
from suppliers.port import Confirmed, Pending, Refused, Released, Unavailable

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
    ended: object = None
    try:
        ended = answer = await answering
    except BaseException as error:
        ended = error
        raise
    else:
        return answer
    finally:
        observer(kind, call, _meaning_of(ended), time.perf_counter() - begun)


def _meaning_of(ended: object) -> Outcome:
    """Return what a call has come to; `unknown` for a cancelled one, and for any other error."""
    match ended:
        case Confirmed():
            return "confirmed"
        case Pending():
            return "pending"
        case Released():
            return "released"
        case None:
            return "not_found"
        case Refused():
            return "refused"
        case Unavailable():
            return "unavailable"
    return "unknown"
