"""What the conformance suite may ask: the supplier of the options, and the docs' example."""

import argparse
import asyncio
import datetime as dt
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp.test_utils import TestServer

from record import Record
from suppliers import HttpSupplier, Supplier, desk
from tests.suppliers.example import Airline
from tests.suppliers.example_service import AirlineService
from tests.suppliers.subject import Items, Subject

Pause = Callable[[float], Awaitable[None]]


class TestClock:
    """The time, in the test's hand: the desk's and, as it is told, the service's."""

    __test__ = False

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.began = dt.datetime.now(dt.UTC)
        self.after = 0.0
        monkeypatch.setattr(desk, "_now", self)

    def __call__(self) -> dt.datetime:
        return self.began + dt.timedelta(seconds=self.after)

    async def pause(self, seconds: float) -> None:
        """Let that time go by."""
        self.after += seconds


@asynccontextmanager
async def given(
    record: Record, options: argparse.Namespace, pause: Pause = asyncio.sleep
) -> AsyncIterator[Subject]:
    """Ask the supplier of the options."""
    kind, where, token = options.supplier_kind, options.supplier, options.supplier_token
    supplier = HttpSupplier(kind, where, token) if is_url(where) else factory_of(where)()
    try:
        yield Subject(
            supplier,
            kind,
            Items(
                options.supplier_item,
                other=options.supplier_other_item,
                unknown=options.supplier_unknown_item,
                sold_out=options.supplier_sold_out_item,
                pending=options.supplier_pending_item,
            ),
            record,
            late=options.supplier_late_seconds,
            token=token,
            try_seconds=options.supplier_try_seconds,
            patience=options.supplier_patience,
            pause=pause,
        )
    finally:
        await supplier.close()


def is_url(where: str) -> bool:
    return where.startswith(("http://", "https://"))


def factory_of(where: str) -> Callable[[], Supplier]:
    """Return the class or function that is named as `package.module:name`."""
    module, _, name = where.partition(":")
    try:
        factory: Callable[[], Supplier] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise pytest.UsageError(
            f"--supplier={where} is no URL and no module:name: {error}"
        ) from None
    return factory


@asynccontextmanager
async def example(
    record: Record, clock: TestClock, late: float = 4.0, found_after: float = 2.0
) -> AsyncIterator[Subject]:
    """Ask the docs' example, whose airline lists an order only a while after it was made."""
    service = AirlineService(lambda: clock.after, found_after)
    async with TestServer(service.app()) as server:
        airline = Airline(str(server.make_url("/air")), "t0ken")
        items = Items("offer-1", "offer-2", "unknown-offer", "sold-out-offer", "pending-offer")
        try:
            yield Subject(airline, "flight", items, record, late, pause=clock.pause)
        finally:
            await airline.close()
