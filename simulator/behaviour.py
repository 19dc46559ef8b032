"""What the simulated suppliers do on purpose: by the words in an item's name, and by faults.

It holds nothing and answers nobody. The tables below are those of docs/suppliers.md.
"""

import random
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

ITEMS = {
    "unknown": "404: there is no such item",
    "invalid": "the same",
    "sold-out": "422: it is sold out",
    "N-seats": "at the end of a name, as `N-rooms` and `N-cars`: there are N places of it",
    "slow": "each PUT and DELETE takes effect, and is answered, after `--slow-seconds`",
    "pending": "PUT is answered with 202, and confirmed after `--pending-seconds`",
    "pending-sold-out": "PUT is answered with 202; after `--pending-seconds` it is cancelled",
    "non-refundable": "DELETE of what is confirmed is answered with 409",
    "slow-to-cancel": "DELETE is answered with 202; it is cancelled after `--pending-seconds`",
    "flaky": "the first two PUTs of each trip are answered with 503; `flaky-5`: the first five",
    "busy": "the first PUT of each trip is answered with 429 and `Retry-After: 2`",
    "lost-answer": "the first PUT of each trip books, and is cut off without an answer",
    "late": "the first PUT of each trip is answered with 503 and books `late_seconds` later; "
    "until then every other one is answered with 503, too",
}
"""What an item does that has such a word in its name."""

ONCE = frozenset({"flaky", "busy", "lost-answer", "late"})
"""Words that change only a trip's first tries, so that tries must be counted."""

Way = Literal[
    "error before",
    "error after",
    "cut before",
    "cut after",
    "busy",
    "garbled",
    "html",
    "redirect",
    "maybe",
    "wrong item",
    "slow",
    "late",
]

WAYS: dict[Way, str] = {
    "error before": "500, and nothing was done",
    "error after": "500, and all was done",
    "cut before": "the connection is closed without an answer, and nothing was done",
    "cut after": "the connection is closed without an answer, and all was done",
    "busy": "429 and `Retry-After: 1`, and nothing was done",
    "garbled": "200 with broken JSON, and all was done",
    "html": "200 with 3 MB of HTML, and all was done",
    "redirect": "307 to elsewhere, and nothing was done",
    "maybe": '200 `{"state": "maybe"}`, and all was done',
    "wrong item": "200 with the confirmation of another item, and all was done",
    "slow": "the true answer, `--slow-seconds` after all was done",
    "late": "PUT only, while `late_seconds` > 0: 503, and it books `late_seconds` later",
}
"""How a call can be broken."""

BEFORE = frozenset({"error before", "cut before", "busy", "redirect"})
"""The ways in which nothing is done."""

PLENTY = 1_000_000

_WORDS = sorted((word for word in ITEMS if word != "N-seats"), key=len, reverse=True)
# The longer ones first: `pending-sold-out` is neither `pending` nor `sold-out`.
_WORD = re.compile(rf"(?<![^\W_])(?:{'|'.join(_WORDS)})(?![^\W_])")
_PLACES = re.compile(r"(?:^|[^0-9])([0-9]{1,9})-(?:seats|rooms|cars)$")
_FAILURES = re.compile(r"(?<![^\W_])flaky-([0-9]{1,4})(?![^\W_]|-(?:seats|rooms|cars)$)")


@dataclass(frozen=True)
class Item:
    """What a name says of an item."""

    name: str
    words: frozenset[str]
    places: int
    failures: int
    """PUTs of each trip that are answered with 503 before one books."""

    @classmethod
    @lru_cache(maxsize=10_000)
    def named(cls, name: str) -> "Item":
        """Read a name."""
        words = frozenset(_WORD.findall(name.lower()))
        places = _PLACES.search(name.lower())
        failures = _FAILURES.search(name.lower())
        return cls(
            name,
            words,
            int(places[1]) if places else PLENTY,
            int(failures[1]) if failures else 2 if "flaky" in words else 0,
        )

    @property
    def counted(self) -> bool:
        """Whether a trip's tries of it are counted."""
        return bool(self.words & ONCE)


class SimulatedFaults(BaseModel):
    """The share of calls that are broken, each in one of these ways."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    ways: Annotated[list[Way], Field(min_length=1)] = list(get_args(Way))

    def choose(self, method: str, late_seconds: float, chance: random.Random) -> Way | None:
        """Return how to break a call; `None`: not at all."""
        if chance.random() >= self.share:
            return None
        may_be_late = method == "PUT" and late_seconds > 0
        ways = [way for way in self.ways if way != "late" or may_be_late]
        return chance.choice(ways) if ways else None


class Mode(BaseModel):
    """Which of the contract's promises are kept."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    idempotent: bool = True
    """Whether a repeated PUT is the same reservation; else each is one of its own."""
    tombstones: bool = True
    """Whether nothing is booked for a trip after its DELETE."""
    late_seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = 4.0
    """How much later a late booking takes effect."""
