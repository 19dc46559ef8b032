"""The supplier that the conformance suite asks: that of the options, or else the docs' example.

`tests/simulator` has the suite ask the simulator. The tests of the activities check what the
embedded supplier keeps.
"""

from collections.abc import AsyncIterator

import pytest

from record import Record
from shared import KINDS
from tests.suppliers.subject import Subject
from tests.suppliers.subjects import TestClock, example, factory_of, given, is_url


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


@pytest.fixture
async def subject(
    request: pytest.FixtureRequest, record: Record, clock: TestClock
) -> AsyncIterator[Subject]:
    """The supplier that a check asks."""
    options = request.config.option
    asked = given(record, options) if options.supplier else example(record, clock)
    async with asked as supplier:
        yield supplier
        await supplier.clear()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> TestClock:
    return TestClock(monkeypatch)
