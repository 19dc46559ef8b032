"""What the simulated suppliers do on purpose: by the words in an item's name, and by faults.

It holds nothing and answers nobody. docs/suppliers.md says what each word and each fault does.
"""

import random
import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from shared import Price

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
"""How a call can be broken."""

BEFORE = frozenset({"error before", "cut before", "busy", "redirect"})
"""The ways in which nothing is done."""

PLENTY = 1_000_000

RISE = Decimal("1.1")

# The longer ones first: `pending-sold-out` is neither `pending` nor `sold-out`.
_WORD = re.compile(
    r"(?<![^\W_])(?:pending-sold-out|slow-to-cancel|non-refundable|lost-answer|sold-out|quote-only"
    r"|price-rises|no-confirm|unknown|invalid|pending|flaky|slow|busy|late)(?![^\W_])"
)
_PRICE = re.compile(r"(?<![^\W_])([0-9]{1,9}(?:\.[0-9]{2})?)-(eur|gbp|usd)(?![^\W_])")
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
    price: Price | None
    """What it costs until it is confirmed."""

    @classmethod
    @lru_cache(maxsize=10_000)
    def named(cls, name: str) -> "Item":
        """Read a name."""
        words = frozenset(_WORD.findall(name.lower()))
        places = _PLACES.search(name.lower())
        failures = _FAILURES.search(name.lower())
        price = _PRICE.search(name.lower())
        return cls(
            name,
            words,
            int(places[1]) if places else PLENTY,
            int(failures[1]) if failures else 2 if "flaky" in words else 0,
            Price(price[1], price[2].upper()) if price else None,
        )

    @property
    def final_price(self) -> Price | None:
        """What it costs once it is confirmed."""
        if self.price is None or "price-rises" not in self.words:
            return self.price
        return Price(f"{self.price.number * RISE:.2f}", self.price.currency)


class SimulatedFaults(BaseModel):
    """The share of calls that are broken, each in one of these ways."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    ways: Annotated[list[Way], Field(min_length=1)] = list(get_args(Way))

    def choose(self, method: str, late_seconds: float, chance: random.Random) -> Way | None:
        """Return how to break a call; `None`: not at all."""
        if chance.random() >= self.share:
            return None
        may_be_late = method == "PUT" and late_seconds > 0
        ways = [way for way in self.ways if way != "late" or may_be_late]
        return chance.choice(ways) if ways else None


@dataclass(frozen=True)
class Mode:
    """Which of the contract's promises are kept."""

    idempotent: bool = True
    """Whether a repeated PUT is the same reservation; else each is one of its own."""
    tombstones: bool = True
    """Whether nothing is booked for a trip after its DELETE."""
    late_seconds: float = 4.0
    """How much later a late booking takes effect."""
    longest_hold: float = 86_400.0
    """Seconds for which an item is held at the most."""
    clock_ahead: float = 0.0
    """Seconds by which the suppliers' clock is wrong."""
