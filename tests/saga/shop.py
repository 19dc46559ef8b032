"""Another domain than trips, in memory: an order's input, its activities and its shop."""

import asyncio
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from shared import RECORD_STUCK_UNDO, RECORD_TRIP, RESOLVE_UNDO, Execution, SagaPolicy, TripNews
from tests.conftest import IMPATIENT


@dataclass(frozen=True)
class Amount:
    cents: int
    currency: str

    def __str__(self) -> str:
        return f"{self.cents / 100:.2f} {self.currency}"


@dataclass(frozen=True)
class Address:
    street: str
    town: str


@dataclass(frozen=True)
class OrderInput:
    attempts: int
    order_id: str
    payment: Amount
    stock: str
    parcel: Address
    receipt: str
    policy: SagaPolicy
    execution: Execution | None = None

    def item(self, kind: str) -> Any:
        return getattr(self, kind)


@dataclass
class Shop:
    """What an order's activities did, and how they are to fail."""

    calls: list[str] = field(default_factory=list)
    """The activities that have succeeded, in their order."""
    got: dict[str, str] = field(default_factory=dict)
    """The payment's reference that an activity was given."""
    told: list[str] = field(default_factory=list)
    """What the record was told."""
    failures: Counter[str] = field(default_factory=Counter)
    faults: dict[str, list[ApplicationError]] = field(default_factory=lambda: defaultdict(list))
    """How the next calls of an activity fail."""
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    """What an activity waits for."""
    reached: set[str] = field(default_factory=set)

    async def call(self, order: OrderInput, name: str) -> None:
        self.reached.add(name)
        if gate := self.gates.get(name):
            await gate.wait()
        if self.faults[name]:
            failure = self.faults[name].pop(0)
            self.failures[name] += 1
            if self.failures[name] >= order.attempts:
                raise refused(failure.message)
            raise failure
        self.calls.append(name)


SHOPS: dict[str, Shop] = defaultdict(Shop)
"""By the order's id."""


def failed(words: str) -> ApplicationError:
    return ApplicationError(words, type="SupplierFailed")


def refused(words: str) -> ApplicationError:
    """The supplier's final word."""
    return ApplicationError(words, type="SupplierRefused", non_retryable=True)


def order(**changes: Any) -> OrderInput:
    valid = OrderInput(
        attempts=3,
        order_id=f"order-{uuid.uuid4().hex}",
        payment=Amount(1250, "EUR"),
        stock="a lamp",
        parcel=Address("1 Main Street", "Springfield"),
        receipt="jane@example.com",
        policy=replace(IMPATIENT, **changes.pop("policy", {})),
    )
    return replace(valid, **changes)


@activity.defn
async def book_payment(order: OrderInput) -> str:
    await SHOPS[order.order_id].call(order, "book_payment")
    return f"PAY-{order.payment}"


@activity.defn
async def undo_book_payment(order: OrderInput) -> None:
    await SHOPS[order.order_id].call(order, "undo_book_payment")


@activity.defn
async def book_stock(order: OrderInput) -> None:
    await SHOPS[order.order_id].call(order, "book_stock")


@activity.defn
async def undo_book_stock(order: OrderInput) -> None:
    await SHOPS[order.order_id].call(order, "undo_book_stock")


@activity.defn
async def book_parcel(order: OrderInput, payment: str) -> None:
    SHOPS[order.order_id].got["book_parcel"] = payment
    await SHOPS[order.order_id].call(order, "book_parcel")


@activity.defn
async def book_receipt(order: OrderInput, payment: str) -> None:
    SHOPS[order.order_id].got["book_receipt"] = payment
    await SHOPS[order.order_id].call(order, "book_receipt")


@activity.defn(name=RECORD_TRIP)
async def record_order(order: OrderInput, news: TripNews) -> None:
    shop = SHOPS[order.order_id]
    shop.reached.add(RECORD_TRIP)
    if gate := shop.gates.get(RECORD_TRIP):
        await gate.wait()
    shop.told.append(news.status)


@activity.defn(name=RECORD_STUCK_UNDO)
async def record_stuck(order: OrderInput, kind: str, words: str) -> None:
    SHOPS[order.order_id].told.append(f"{kind} is stuck: {words}")


@activity.defn(name=RESOLVE_UNDO)
async def record_resolved(order: OrderInput, kind: str, note: str) -> None:
    SHOPS[order.order_id].told.append(f"{kind} is resolved: {note}")


OF_THE_RECORD: list[Callable[..., Any]] = [record_order, record_stuck, record_resolved]
