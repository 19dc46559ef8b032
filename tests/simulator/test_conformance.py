"""The simulator passes the conformance suite, and fails it when it keeps less of the contract."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from record import Record
from tests.simulator.subject import simulated
from tests.suppliers import test_conformance as suite
from tests.suppliers.subject import Subject
from tests.suppliers.subjects import TestClock
from tests.suppliers.test_conformance import *  # noqa: F403  # Each check is a test here, too.

Check = Callable[[Subject], Awaitable[None]]

FAILS = (pytest.fail.Exception, AssertionError)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> TestClock:
    return TestClock(monkeypatch)


@pytest.fixture
async def subject(record: Record, tmp_path: Path, clock: TestClock) -> AsyncIterator[Subject]:
    """The simulator, which a check asks."""
    async with simulated(record, tmp_path, clock) as supplier:
        yield supplier
        await supplier.clear()


async def failing(subject: Subject) -> set[Check]:
    """Run all checks, and return those that fail."""
    failed = set()
    for name, check in inspect.getmembers(suite, inspect.iscoroutinefunction):
        try:
            if name.startswith("test_"):
                await check(subject)
        except pytest.skip.Exception:
            pass
        except FAILS:
            failed.add(check)
    return failed


async def test_a_supplier_that_keeps_less_fails(
    record: Record, tmp_path: Path, clock: TestClock
) -> None:
    less = {"idempotent": False, "tombstones": False}
    async with simulated(record, tmp_path, clock, **less) as subject:
        failed = await failing(subject)
    # Without tombstones the race ends as it happens to.
    failed.discard(suite.test_a_cancellation_that_meets_the_booking_leaves_nothing)
    assert failed == {
        suite.test_a_hold_is_the_same_however_often_it_is_sent,
        suite.test_a_trip_is_booked_once_however_often_it_is_sent,
        suite.test_a_trip_is_booked_once_by_many_calls_at_once,
        suite.test_another_item_of_a_booked_trip_is_refused,
        suite.test_a_cancelled_trip_holds_nothing_and_refuses_every_later_booking,
        suite.test_a_trip_that_was_cancelled_before_it_was_booked_refuses_every_booking,
    }
