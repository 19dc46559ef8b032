"""Observers of suppliers: they are told how each call ended, and how long it took."""

import time
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

from shared import Kind
from suppliers.port import Confirmed, Held, Pending, Quoted, Refused, Released, Unavailable

Call = Literal["book", "confirm", "cancel", "find"]

Observer = Callable[[Kind, Call, str, float], object]
"""It is called when a call is over, with its outcome and its time in seconds."""

OUTCOMES = {
    Confirmed: "confirmed",
    Held: "held",
    Quoted: "quoted",
    Pending: "pending",
    Released: "released",
    type(None): "not_found",
    Refused: "refused",
    Unavailable: "unavailable",
}
"""The outcome of a call by its answer or its error. A call with another error, or a cancelled one,
has the outcome `unknown`."""

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
        outcome = OUTCOMES.get(type(ended), "unknown")
        observer(kind, call, outcome, time.perf_counter() - begun)
