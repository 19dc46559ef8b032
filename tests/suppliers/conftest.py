"""The suppliers that the conformance suite asks: that of the options, or else the simulator and the
docs' example. The tests of the activities check what the embedded supplier keeps."""

import argparse
import asyncio
import datetime as dt
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from record import Record
from shared import KINDS
from suppliers import HttpSupplier, Supplier, desk
from tests.simulator.simulated import Simulator
from tests.suppliers.example import Airline
from tests.suppliers.example_service import AirlineService
from tests.suppliers.subject import Items, Subject

OUR_OWN = ("http", "example")

Pause = Callable[[float], Awaitable[None]]


def pytest_addoption(parser: pytest.Parser) -> None:
    add = parser.getgroup("supplier", "the supplier that the conformance suite asks").addoption
    add("--supplier", help="its URL, or package.module:name of a class or function that makes it")
    add("--supplier-kind", choices=KINDS, default="hotel", help="what it books (hotel)")
    add("--supplier-item", help="an item that can be booked and cancelled, 50 times over")
    add("--supplier-other-item", help="another one")
    add("--supplier-unknown-item", help="one that does not exist")
    add("--supplier-sold-out-item", help="one that is sold out")
    add("--supplier-pending-item", help="one that is pending at first, and then confirmed")
    add("--supplier-token", help="what is sent as a Bearer token to a URL")
    add("--supplier-late-seconds", type=float, default=0.0, help="as HOTEL_SUPPLIER_LATE_SECONDS")
    add("--supplier-try-seconds", type=float, default=30.0, help="the most a call may take (30)")
    add("--supplier-patience", type=float, default=120.0, help="as long may it be pending (120)")


def pytest_configure(config: pytest.Config) -> None:
    """Say in one line what is wrong with the options."""
    where = config.getoption("supplier", None)
    if not where:
        return
    if not config.option.supplier_item:
        raise pytest.UsageError("--supplier needs --supplier-item, one that can be booked")
    if not is_url(where):
        factory_of(where)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "subject" in metafunc.fixturenames:
        given = metafunc.config.getoption("supplier", None)
        metafunc.parametrize("subject", ["given"] if given else OUR_OWN, indirect=True)


@pytest.fixture
async def subject(
    request: pytest.FixtureRequest,
    record: Record,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Subject]:
    """The supplier that a check asks."""
    match request.param:
        case "given":
            asked = given(record, request.config.option)
        case "http":
            asked = simulated(record, tmp_path, TestClock(monkeypatch))
        case "example":
            asked = example(record, TestClock(monkeypatch))
    async with asked as supplier:
        yield supplier
        await supplier.clear()


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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> TestClock:
    return TestClock(monkeypatch)


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
async def simulated(
    record: Record, folder: Path, clock: TestClock, **mode: Any
) -> AsyncIterator[Subject]:
    """Ask a simulator through the HTTP client."""
    simulator = Simulator(folder / "suppliers.db", token="t0ken", slow_seconds=0.0, seed=1)
    await simulator.start(**mode)

    async def pause(seconds: float) -> None:
        simulator.now += seconds
        await clock.pause(seconds)

    options = argparse.Namespace(
        supplier=str(simulator.server.make_url("/hotels")),
        supplier_kind="hotel",
        supplier_item="valid-hotel",
        supplier_other_item="another-hotel",
        supplier_unknown_item="unknown-hotel",
        supplier_sold_out_item="sold-out-hotel",
        supplier_pending_item="pending-hotel",
        supplier_token="t0ken",
        supplier_late_seconds=0.0,
        supplier_try_seconds=30.0,
        supplier_patience=120.0,
    )
    try:
        async with given(record, options, pause) as subject:
            yield subject
    finally:
        await simulator.stop()


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
