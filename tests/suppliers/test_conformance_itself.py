"""The conformance suite notices: for each promise that a supplier breaks, which checks fail.

The suppliers are the simulator in its modes and with its faults, the example with a time that is
too short for its airline, and some in memory that break one promise each.
"""

import inspect
import json
import re
from collections.abc import Awaitable, Callable, Set
from http import HTTPStatus
from pathlib import Path
from typing import Any, get_args

import pytest
from aiohttp import web

from record import Record
from simulator import service
from simulator.answers import SimulatedAnswer, SimulatedSuppliers
from simulator.behaviour import Mode, Way
from simulator.stock import Stock
from tests.processes import ROOT
from tests.suppliers import test_conformance as suite
from tests.suppliers import unfaithful
from tests.suppliers.conftest import TestClock, example, simulated
from tests.suppliers.example import Airline
from tests.suppliers.subject import Items, Subject
from tests.suppliers.unfaithful import Faithful

DOCS = ROOT / "docs" / "suppliers.md"

CHECKS: dict[str, Callable[[Subject], Awaitable[None]]] = {
    name.removeprefix("test_"): check
    for name, check in inspect.getmembers(suite, inspect.iscoroutinefunction)
    if name.startswith("test_")
}

FOUND = "a_trip_is_booked_and_found"
NEVER_ASKED = "what_was_never_asked_for_is_found_as_none"
ONCE = "a_trip_is_booked_once_however_often_it_is_sent"
AT_ONCE = "a_trip_is_booked_once_by_many_calls_at_once"
OTHER_ITEM = "another_item_of_a_booked_trip_is_refused"
UNKNOWN = "an_unknown_item_is_refused_in_words_for_travellers"
SOLD_OUT = "a_sold_out_item_is_refused_in_words_for_travellers"
PENDING = "what_is_pending_is_decided_in_time_and_found"
PENDING_CANCELLED = "what_is_pending_can_be_cancelled"
MIX = "two_trips_do_not_mix"
ODD_IDS = "odd_trip_ids_come_through"
ALIKE = "trips_whose_ids_look_alike_do_not_mix"
ODD_ITEMS = "odd_items_are_booked_or_refused"
BLOCKS = "no_call_holds_up_the_event_loop"
CANCELLED = "a_cancelled_trip_holds_nothing_and_refuses_every_later_booking"
TOMBSTONE = "a_trip_that_was_cancelled_before_it_was_booked_refuses_every_booking"
AGAIN = "cancelling_again_changes_nothing"
RACE = "a_cancellation_that_meets_the_booking_leaves_nothing"
LOST = "a_booking_whose_answer_was_lost_is_found_and_not_booked_again"
LOST_CANCELLED = "a_booking_whose_answer_was_lost_is_found_and_cancelled"
HTTP_BOOKED = "http_a_booking_is_told_of_in_json"
HTTP_PENDING = "http_what_is_pending_is_202_and_then_200"
HTTP_NEVER_ASKED = "http_what_was_never_asked_for_is_404"
HTTP_UNKNOWN = "http_an_unknown_item_is_a_final_problem"
HTTP_CANCELLED = "http_a_cancelled_trip_is_told_of_and_its_booking_is_409"
HTTP_TOMBSTONE = "http_a_tombstone_is_left_where_nothing_was_booked"
HTTP_TOKEN = "http_who_has_no_token_is_not_let_in"

CANCELS = {ONCE, AT_ONCE, MIX, ODD_IDS, ODD_ITEMS, CANCELLED, TOMBSTONE, AGAIN, RACE}
CANCELS |= {LOST_CANCELLED, PENDING_CANCELLED}
"""What fails when nothing is cancelled."""

NO_IDEMPOTENCY = {ONCE, AT_ONCE, OTHER_ITEM}
NO_TOMBSTONES = {CANCELLED, TOMBSTONE, HTTP_CANCELLED, HTTP_TOMBSTONE}


async def failing(subject: Subject) -> dict[str, str]:
    """Run all checks. Return those that fail, with what they say."""
    failed = {}
    for name, check in CHECKS.items():
        try:
            await check(subject)
        except pytest.skip.Exception:
            pass
        except (pytest.fail.Exception, AssertionError) as failure:
            failed[name] = str(failure)
    return failed


@pytest.mark.parametrize(
    ("supplier", "failed"),
    [
        (Faithful, set()),
        (unfaithful.Blocking, {BLOCKS}),
        (unfaithful.Forgetful, {FOUND, ONCE, AT_ONCE, OTHER_ITEM, ODD_IDS, MIX, PENDING, LOST}),
        (unfaithful.Nameless, {MIX}),
        (unfaithful.Blind, {FOUND, OTHER_ITEM, ODD_IDS, MIX, PENDING, LOST}),
        (unfaithful.Strict, {NEVER_ASKED, UNKNOWN, SOLD_OUT, ALIKE}),
        (unfaithful.Yielding, {OTHER_ITEM}),
        (unfaithful.Careless, {UNKNOWN, SOLD_OUT}),
        (unfaithful.Talkative, {UNKNOWN, SOLD_OUT}),
        (unfaithful.Raising, {UNKNOWN, SOLD_OUT}),
        (unfaithful.Undeciding, {PENDING}),
        (unfaithful.Overhasty, {PENDING}),
        (
            unfaithful.Mixing,
            {FOUND, NEVER_ASKED, ONCE, AT_ONCE, OTHER_ITEM, PENDING, PENDING_CANCELLED, MIX}
            | {ODD_IDS, ALIKE, CANCELLED, AGAIN, LOST},
        ),
        (unfaithful.Decoding, {ALIKE}),
        (unfaithful.Plain, {ODD_IDS, ALIKE}),
        (unfaithful.Once, {AGAIN}),
        (unfaithful.Keeping, CANCELS),
        (unfaithful.Particular, {TOMBSTONE, RACE}),
        (unfaithful.Frozen, CANCELS),
    ],
)
async def test_each_promise_that_is_broken_fails_its_checks_and_no_other(
    record: Record, clock: TestClock, supplier: type[Faithful], failed: Set[str]
) -> None:
    items = Items("valid", "other", "unknown", "sold-out", "pending")
    subject = Subject(supplier(), "hotel", items, record, pause=clock.pause)
    assert (await failing(subject)).keys() == failed


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("tombstones", [True, False])
@pytest.mark.parametrize("late", [0.0, 4.0])
async def test_a_supplier_that_keeps_less_fails_unless_it_says_so(
    record: Record,
    tmp_path: Path,
    clock: TestClock,
    idempotent: bool,
    tombstones: bool,
    late: float,
) -> None:
    failed = (set() if idempotent else NO_IDEMPOTENCY) | (set() if tombstones else NO_TOMBSTONES)
    mode: dict[str, Any] = {"idempotent": idempotent, "tombstones": tombstones}
    async with simulated(record, tmp_path, clock, late, **mode) as subject:
        found = (await failing(subject)).keys()
    # Without tombstones the race ends as it happens to.
    assert found - {RACE} == (set() if late else failed)
    assert RACE not in found or not (tombstones or late)


@pytest.mark.parametrize(
    ("late", "failed"),
    [
        (4.0, set()),
        (
            1.0,
            {FOUND, OTHER_ITEM, ODD_IDS, PENDING, PENDING_CANCELLED, LOST, LOST_CANCELLED},
        ),
    ],
)
async def test_a_late_seconds_that_is_too_short_fails(
    record: Record, clock: TestClock, late: float, failed: Set[str]
) -> None:
    async with example(record, clock, late, found_after=2.0) as subject:
        assert (await failing(subject)).keys() == failed


@pytest.mark.parametrize("way", get_args(Way))
async def test_a_fault_of_every_call_fails_every_check_of_an_answer(
    record: Record, tmp_path: Path, clock: TestClock, way: Way
) -> None:
    async with simulated(record, tmp_path, clock) as subject:
        await break_calls(subject, way)
        failed = (await failing(subject)).keys()
    # Those two look at the door, and at our own side.
    assert not failed & {HTTP_TOKEN, BLOCKS}
    match way:
        case "slow":  # And true.
            assert not failed
        case "late":  # PUTs only. What is tried again finds the late booking.
            kept = {NEVER_ASKED, HTTP_NEVER_ASKED, UNKNOWN, SOLD_OUT, HTTP_UNKNOWN, TOMBSTONE}
            kept |= {HTTP_TOMBSTONE, HTTP_CANCELLED, AT_ONCE, ODD_ITEMS, RACE}
            assert failed - {RACE} == CHECKS.keys() - {HTTP_TOKEN, BLOCKS} - kept
        case _:
            assert failed == CHECKS.keys() - {HTTP_TOKEN, BLOCKS}


async def break_calls(subject: Subject, way: Way) -> None:
    base = str(subject.url).removesuffix("/hotels")
    async with subject.http() as http:
        ruling = http.session.put(f"{base}/faults", json={"share": 1, "ways": [way]})
        async with ruling as ruled:
            assert ruled.status == HTTPStatus.OK


def plain_errors(response: web.Response) -> None:
    if response.content_type == "application/problem+json":
        response.content_type = "application/json"


def plain_answers(response: web.Response) -> None:
    if response.content_type == "application/json":
        response.content_type = "text/plain"


def wordless(response: web.Response) -> None:
    response.text = (response.text or "").replace('"detail"', '"note"')


def down_when_unknown(response: web.Response) -> None:
    if "There is no hotel" in (response.text or ""):
        response.set_status(500)


def never_404(response: web.Response) -> None:
    if "There is no reservation" in (response.text or ""):
        response.set_status(200)
        response.content_type = "application/json"
        response.text = '{"state": "cancelled"}'


def never_409(response: web.Response) -> None:
    if response.status == HTTPStatus.CONFLICT:
        response.set_status(400)


def never_202(response: web.Response) -> None:
    if response.status == HTTPStatus.ACCEPTED:
        response.set_status(200)


PROBLEMS = {HTTP_NEVER_ASKED, HTTP_UNKNOWN, HTTP_CANCELLED, HTTP_TOMBSTONE}


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        (plain_errors, PROBLEMS),
        (plain_answers, {HTTP_BOOKED, HTTP_PENDING}),
        (wordless, PROBLEMS),
        (down_when_unknown, {UNKNOWN, HTTP_UNKNOWN}),
        (never_404, {NEVER_ASKED, ALIKE, HTTP_NEVER_ASKED}),
        (never_409, {HTTP_CANCELLED, HTTP_TOMBSTONE}),
        (never_202, {HTTP_PENDING}),
    ],
)
async def test_each_row_of_the_http_contract_that_is_broken_fails_its_checks_and_no_other(
    record: Record,
    tmp_path: Path,
    clock: TestClock,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[web.Response], None],
    failed: Set[str],
) -> None:
    said = service._said

    def changed(answer: SimulatedAnswer) -> web.Response:
        response = said(answer)
        change(response)
        return response

    monkeypatch.setattr(service, "_said", changed)
    async with simulated(record, tmp_path, clock) as subject:
        assert (await failing(subject)).keys() == failed


async def test_a_door_without_a_lock_fails(
    record: Record, tmp_path: Path, clock: TestClock
) -> None:
    async with simulated(record, tmp_path, clock, wants=None) as subject:
        assert (await failing(subject)).keys() == {HTTP_TOKEN}


@pytest.mark.parametrize(
    ("words", "fit"),
    [
        ("There is no hotel hotel-404.", True),
        ("The 450 rooms of this hotel are taken on 1.12.2026.", True),
        ("Sold out, Ångström: see you another time!", True),
        ("", False),
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
    items = Items("hotel-404")
    subject = Subject(Faithful(), "hotel", items, record, token="t0ken")
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
