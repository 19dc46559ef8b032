"""Trips to try: what the booking page offers to fill in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from shared import KINDS

Offer = Literal["embedded", "simulator", "none"]
"""Which suppliers' items the examples book; or no examples."""


@dataclass(frozen=True)
class Example:
    """A trip to try, and how it ends."""

    name: str
    meaning: str
    values: dict[str, str]


def _example(name: str, meaning: str, traveller: str, **items: str) -> Example:
    valid = {str(kind): f"valid-{kind}-id" for kind in KINDS}
    return Example(name, meaning, {"name": traveller, **valid, **items})


HOTEL_REFUSES = "The car is booked, the hotel refuses, the car is undone."

EXAMPLES: dict[Offer, Sequence[Example]] = {
    "embedded": [
        _example("A good trip", "All is booked, the hotel on its second try.", "John Doe"),
        _example(
            "A hotel that does not exist", HOTEL_REFUSES, "Jane Smith", hotel="invalid-hotel-id"
        ),
    ],
    "simulator": [
        _example("A good trip", "All is booked.", "John Doe"),
        _example("A hotel that does not exist", HOTEL_REFUSES, "Jane Smith", hotel="unknown-hotel"),
        _example(
            "A flight that is sold out",
            "Car and hotel are booked, and undone.",
            "Ada Byron",
            flight="sold-out-flight",
        ),
        _example(
            "A slow hotel", "It takes five seconds to answer.", "Alan Turing", hotel="slow-hotel"
        ),
        _example(
            "A flaky car", "It is down for the first two tries.", "Grace Hopper", car="flaky-car"
        ),
        _example(
            "A fare without refund",
            "The flight is sold out, and the hotel cannot be given back: an operator is needed.",
            "Mary Shelley",
            hotel="non-refundable-hotel",
            flight="sold-out-flight",
        ),
        _example(
            "A trip to pay for first",
            "Car and hotel are held, the flight is only quoted. Confirm it, or let it expire.",
            "Emmy Noether",
            car="car-89.90-eur",
            hotel="hotel-240-eur",
            flight="quote-only-flight-119.50-eur",
            hold_seconds="900",
        ),
        _example(
            "A price that rises",
            "The hotel costs more at the confirm than when it was held: nothing is booked.",
            "Carl Gauss",
            hotel="price-rises-hotel-240-eur",
            hold_seconds="900",
        ),
    ],
    "none": [],
}
