"""Each check of the conformance suite fails for a supplier that breaks what it checks."""

import inspect
import json
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path

import pytest
from aiohttp import web

from record import Record
from simulator import service
from simulator.answers import SimulatedAnswer, SimulatedSuppliers
from simulator.behaviour import Mode
from simulator.stock import Stock
from tests.processes import ROOT
from tests.suppliers import test_conformance as suite
from tests.suppliers import unfaithful
from tests.suppliers.conftest import TestClock, example, simulated
from tests.suppliers.example import Airline
from tests.suppliers.subject import Items, Subject
from tests.suppliers.unfaithful import Faithful

DOCS = ROOT / "docs" / "suppliers.md"

Check = Callable[[Subject], Awaitable[None]]

CHECKS: list[Check] = [
    check
    for name, check in inspect.getmembers(suite, inspect.iscoroutinefunction)
    if name.startswith("test_")
]

FAILS = (pytest.fail.Exception, AssertionError)

BROKEN: list[tuple[type[Faithful], Check]] = [
    (unfaithful.Blocking, suite.test_no_call_holds_up_the_event_loop),
    (unfaithful.Forgetful, suite.test_a_trip_is_booked_and_found),
    (unfaithful.Forgetful, suite.test_a_trip_is_booked_once_however_often_it_is_sent),
    (unfaithful.Forgetful, suite.test_a_trip_is_booked_once_by_many_calls_at_once),
    (unfaithful.Nameless, suite.test_two_trips_do_not_mix),
    (unfaithful.Blind, suite.test_a_booking_whose_answer_was_lost_is_found_and_not_booked_again),
    (unfaithful.Strict, suite.test_what_was_never_asked_for_is_found_as_none),
    (unfaithful.Yielding, suite.test_another_item_of_a_booked_trip_is_refused),
    (unfaithful.Careless, suite.test_an_unknown_item_is_refused_in_words_for_travellers),
    (unfaithful.Careless, suite.test_a_sold_out_item_is_refused_in_words_for_travellers),
    (unfaithful.Talkative, suite.test_an_unknown_item_is_refused_in_words_for_travellers),
    (unfaithful.Raising, suite.test_an_unknown_item_is_refused_in_words_for_travellers),
    (unfaithful.Undeciding, suite.test_what_is_pending_is_decided_in_time_and_found),
    (unfaithful.Overhasty, suite.test_what_is_pending_is_decided_in_time_and_found),
    (unfaithful.Decoding, suite.test_trips_whose_ids_look_alike_do_not_mix),
    (unfaithful.Plain, suite.test_odd_trip_ids_come_through),
    (unfaithful.Once, suite.test_cancelling_again_changes_nothing),
    (unfaithful.Keeping, suite.test_what_is_pending_can_be_cancelled),
    (unfaithful.Keeping, suite.test_odd_items_are_booked_or_refused),
    (unfaithful.Keeping, suite.test_a_cancelled_trip_holds_nothing_and_refuses_every_later_booking),
    (unfaithful.Keeping, suite.test_a_cancellation_that_meets_the_booking_leaves_nothing),
    (unfaithful.Keeping, suite.test_a_booking_whose_answer_was_lost_is_found_and_cancelled),
    (
        unfaithful.Particular,
        suite.test_a_trip_that_was_cancelled_before_it_was_booked_refuses_every_booking,
    ),
]


async def failing(subject: Subject) -> set[Check]:
    """Run all checks, and return those that fail."""
    failed = set()
    for check in CHECKS:
        try:
            await check(subject)
        except pytest.skip.Exception:
            pass
        except FAILS:
            failed.add(check)
    return failed


def in_memory(record: Record, clock: TestClock, supplier: Faithful) -> Subject:
    items = Items("valid", "other", "unknown", "sold-out", "pending")
    return Subject(supplier, "hotel", items, record, pause=clock.pause)


async def test_a_supplier_that_keeps_the_port_fails_no_check(
    record: Record, clock: TestClock
) -> None:
    assert await failing(in_memory(record, clock, Faithful())) == set()


@pytest.mark.parametrize(("supplier", "check"), BROKEN)
async def test_a_promise_that_is_broken_fails_its_check(
    record: Record, clock: TestClock, supplier: type[Faithful], check: Check
) -> None:
    with pytest.raises(FAILS):
        await check(in_memory(record, clock, supplier()))


def plain_errors(response: web.Response) -> None:
    if response.content_type == "application/problem+json":
        response.content_type = "application/json"


def wordless(response: web.Response) -> None:
    response.text = (response.text or "").replace('"detail"', '"note"')


def plain_answers(response: web.Response) -> None:
    if response.content_type == "application/json":
        response.content_type = "text/plain"


def down_when_unknown(response: web.Response) -> None:
    if "There is no hotel" in (response.text or ""):
        response.set_status(500)


def never_409(response: web.Response) -> None:
    if response.status == HTTPStatus.CONFLICT:
        response.set_status(400)


def never_202(response: web.Response) -> None:
    if response.status == HTTPStatus.ACCEPTED:
        response.set_status(200)


BROKEN_OVER_HTTP: list[tuple[Callable[[web.Response], None], Check]] = [
    (plain_errors, suite.test_http_what_was_never_asked_for_is_404),
    (wordless, suite.test_http_what_was_never_asked_for_is_404),
    (plain_answers, suite.test_http_a_booking_is_told_of_in_json),
    (down_when_unknown, suite.test_http_an_unknown_item_is_a_final_problem),
    (never_409, suite.test_http_a_cancelled_trip_is_told_of_and_its_booking_is_409),
    (never_409, suite.test_http_a_tombstone_is_left_where_nothing_was_booked),
    (never_202, suite.test_http_what_is_pending_is_202_and_then_200),
]


@pytest.mark.parametrize(("change", "check"), BROKEN_OVER_HTTP)
async def test_a_row_of_the_http_contract_that_is_broken_fails_its_check(
    record: Record,
    tmp_path: Path,
    clock: TestClock,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[web.Response], None],
    check: Check,
) -> None:
    said = service._said

    def changed(answer: SimulatedAnswer) -> web.Response:
        response = said(answer)
        change(response)
        return response

    monkeypatch.setattr(service, "_said", changed)
    async with simulated(record, tmp_path, clock) as subject:
        with pytest.raises(FAILS):
            await check(subject)


async def test_a_door_without_a_lock_fails(
    record: Record, tmp_path: Path, clock: TestClock
) -> None:
    async with simulated(record, tmp_path, clock, wants=None) as subject:
        assert await failing(subject) == {suite.test_http_who_has_no_token_is_not_let_in}


def test_each_check_is_seen_to_fail() -> None:
    seen = {check for _, check in [*BROKEN, *BROKEN_OVER_HTTP]}
    assert set(CHECKS) - seen == {suite.test_http_who_has_no_token_is_not_let_in}


@pytest.mark.parametrize("late", [0.0, 4.0])
async def test_a_supplier_that_keeps_less_fails_unless_it_says_so(
    record: Record, tmp_path: Path, clock: TestClock, late: float
) -> None:
    keeping_less = simulated(record, tmp_path, clock, late, idempotent=False, tombstones=False)
    async with keeping_less as subject:
        failed = await failing(subject)
    # Without tombstones the race ends as it happens to.
    failed.discard(suite.test_a_cancellation_that_meets_the_booking_leaves_nothing)
    needs = {
        suite.test_a_trip_is_booked_once_however_often_it_is_sent,
        suite.test_a_trip_is_booked_once_by_many_calls_at_once,
        suite.test_another_item_of_a_booked_trip_is_refused,
        suite.test_a_cancelled_trip_holds_nothing_and_refuses_every_later_booking,
        suite.test_a_trip_that_was_cancelled_before_it_was_booked_refuses_every_booking,
        suite.test_http_a_cancelled_trip_is_told_of_and_its_booking_is_409,
        suite.test_http_a_tombstone_is_left_where_nothing_was_booked,
    }
    assert failed == (set() if late else needs)


async def test_a_late_seconds_that_is_too_short_fails(record: Record, clock: TestClock) -> None:
    async with example(record, clock, late=1.0, found_after=2.0) as subject:
        with pytest.raises(FAILS):
            await suite.test_a_booking_whose_answer_was_lost_is_found_and_cancelled(subject)


@pytest.mark.parametrize(
    ("words", "fit"),
    [
        ("There is no hotel hotel-404.", True),
        ("The 450 rooms of this hotel are taken on 1.12.2026.", True),
        ("Sold out, Ångström: see you another time!", True),
        (" ", False),
        ("404 Not Found", False),
        ("HTTP 422", False),
        ("Request failed with status code 503", False),
        ("see https://hotels.example/v1", False),
        ("no route to 10.0.0.7", False),
        ("KeyError: 'id'", False),
        ('{"error": "sold out"}', False),
        ("<html><title>Oops</title></html>", False),
        ("a\nb", False),
        ("x" * 500, False),
        ("t0ken is not known", False),
    ],
)
async def test_words_for_travellers_are_told_from_others(
    record: Record, words: str, fit: bool
) -> None:
    subject = Subject(Faithful(), "hotel", Items("hotel-404"), record, token="t0ken")
    if fit:
        suite.assert_for_travellers(words, subject.trip(), subject)
    else:
        with pytest.raises(AssertionError):
            suite.assert_for_travellers(words, subject.trip(), subject)


# The docs


def test_the_docs_have_the_example_as_it_is() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert block == Path(inspect.getfile(Airline)).read_text()


def test_the_docs_have_what_the_simulator_answers(tmp_path: Path) -> None:
    """Each call of the transcript, but for the wait before the last one."""
    console = DOCS.read_text().partition("$ HOTELS=")[2].partition("```")[0]
    # Python 3.13 calls it Unprocessable Content, as RFC 9110 does.
    console = console.replace("Unprocessable Entity", HTTPStatus(422).phrase)
    calls = re.findall(r"^\$ curl (.*)\n(.*) (\d{3})$", console, re.MULTILINE)
    time = [0.0]
    stock = Stock.open(tmp_path / "suppliers.db")
    suppliers = SimulatedSuppliers(stock, Mode(), clock=lambda: time[0])
    for call, body, status in calls:
        match = re.fullmatch(r"(?:-X (\w+) )?\$HOTELS/(\S+)(?: -d '(.*)')?", call)
        assert match, call
        method, trip_id, sent = match.groups()
        if method == "PUT":
            answer = suppliers.book("hotel", trip_id, json.loads(sent)["item"])
        elif method == "DELETE":
            answer = suppliers.cancel("hotel", trip_id)
        else:
            time[0] += 4.0
            answer = suppliers.find("hotel", trip_id)
        assert (json.dumps(answer.body), str(int(answer.status))) == (body, status), call
    stock.close()
    assert len(calls) == console.count("$ curl")
