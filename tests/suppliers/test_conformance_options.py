"""The conformance suite: the suppliers that it fails, the options of its command line, its docs."""

import argparse
import inspect
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from record import Record
from tests.processes import ROOT
from tests.suppliers import test_conformance as suite
from tests.suppliers.conftest import TestClock, example, pytest_configure, simulated
from tests.suppliers.subject import Subject

DOCS = ROOT / "docs" / "suppliers.md"

Check = Callable[[Subject], Awaitable[None]]

FAILS = (pytest.fail.Exception, AssertionError)

Give = Callable[..., argparse.Namespace]


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
        suite.test_a_trip_is_booked_once_however_often_it_is_sent,
        suite.test_a_trip_is_booked_once_by_many_calls_at_once,
        suite.test_another_item_of_a_booked_trip_is_refused,
        suite.test_a_cancelled_trip_holds_nothing_and_refuses_every_later_booking,
        suite.test_a_trip_that_was_cancelled_before_it_was_booked_refuses_every_booking,
    }


async def test_a_late_seconds_that_is_too_short_fails(record: Record, clock: TestClock) -> None:
    async with example(record, clock, late=1.0, found_after=2.0) as subject:
        with pytest.raises(FAILS):
            await suite.test_a_booking_whose_answer_was_lost_is_found_and_cancelled(subject)


# The options


@pytest.mark.parametrize(
    ("supplier", "item", "told"),
    [
        ("http://127.0.0.1:1/x", None, "--supplier needs --supplier-item"),
        ("nowhere:X", "x", "is no URL and no module:name"),
        ("tests.suppliers.script:X", "x", "has no attribute 'X'"),
    ],
)
def test_a_bad_option_is_refused(
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
    supplier: str,
    item: str | None,
    told: str,
) -> None:
    monkeypatch.setattr(pytestconfig.option, "supplier", supplier)
    monkeypatch.setattr(pytestconfig.option, "supplier_item", item)
    with pytest.raises(pytest.UsageError, match=told):
        pytest_configure(pytestconfig)


def test_the_docs_tell_of_every_option_of_the_suite(pytestconfig: pytest.Config) -> None:
    told = DOCS.read_text().partition("| pytest option |")[2].partition("\n\n")[0]
    options = {f"--{name.replace('_', '-')}" for name in vars(pytestconfig.option)}
    ours = {name for name in options if re.match("--supplier(-|$)", name)}
    assert set(re.findall(r"--supplier[a-z-]*", told)) == ours
