"""Does a supplier keep the port? Each test is a promise; docs/suppliers.md tells how to run it.

It asks a supplier by URL or class (`--supplier=…`). Without that it asks the simulator and the
docs' example. It needs a supplier on which nobody else books, and items as the options name them.
It cancels all that it books.
"""

import asyncio
import contextlib
import dataclasses
import re
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from shared import BookVacationInput
from suppliers import (
    Booking,
    Confirmed,
    Held,
    OutcomeUnknown,
    Pending,
    Refused,
    Released,
    Try,
)
from tests.suppliers.subject import Subject

CROWD = 8

ODD_IDS = (
    "-Zoë-旅行-🧳",
    "-a/b",
    '-it\'s "quoted"',
    "-100%25 & more?x=1#y+z;",
    "-c:\\trips",
)

ODD_ITEMS = ("Hôtel 旅館 🧳", "a/b/../c", 'it\'s "quoted" \\', "100%25?x=1#y+z", "'; DROP TABLE --")

NOT_FOR_TRAVELLERS = {
    "an address": r"\w+://|\b\d{1,3}(?:\.\d{1,3}){3}\b|\blocalhost\b",
    "a status code": r"(?i:\b(?:http|status|code|error)\W{0,3}[1-5]\d\d\b)|\b[45]\d\d(?: [A-Z]|$)",
    "a traceback": r"Traceback|\bline \d+, in |\b\w+(?:Error|Exception)\b|<[\w. ]+ at 0x",
    "a page or JSON": r"^\s*[<{\[]|</\w+>",
    "a control character": r"[\x00-\x1f\x7f]",
}

LONGEST_HOLD = 1_000
"""Seconds. It is asked for 900, and for a minute more, as its clock may be wrong."""

MAX_WORDS = 500
"""Characters."""


def assert_for_travellers(words: str, trip: BookVacationInput, subject: Subject) -> None:
    item = trip.item(subject.kind) or ""
    said = words.replace(item, "…")  # That may look like anything.
    assert said.strip(), "Refused has no text: say why, travellers read it"
    assert len(said) < MAX_WORDS, f"the text of Refused has {len(said)} characters: {said[:80]}…"
    for what, pattern in NOT_FOR_TRAVELLERS.items():
        assert not re.search(pattern, said), (
            f"travellers read {what} in the text of Refused: {said}"
        )
    assert not (subject.token and subject.token in said), "the text of Refused has our token in it"


@contextlib.contextmanager
def nothing_refused() -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        pytest.fail(f"this was refused, and must not be: {refused}")


class Watched:
    """The supplier. Its answers to bookings are noted; the first is lost on its way if told so."""

    def __init__(self, subject: Subject, loses: bool = False) -> None:
        self._subject = subject
        self._loses = loses
        self.answers: list[Booking] = []

    async def book(self, trip: BookVacationInput, attempt: int) -> Booking:
        supplier = self._subject.supplier
        answer = await self._subject.ask("book", lambda: supplier.book(trip, attempt))
        self.answers.append(answer)
        if self._loses and len(self.answers) == 1:
            raise OutcomeUnknown("The answer was lost")
        return answer

    async def confirm(self, trip: BookVacationInput) -> Confirmed | Pending:
        return await self._subject.supplier.confirm(trip)

    async def cancel(self, trip: BookVacationInput) -> Released | Pending:
        return await self._subject.supplier.cancel(trip)

    async def find(self, trip: BookVacationInput) -> Confirmed | Held | Pending | Released | None:
        return await self._subject.find(trip)

    async def close(self) -> None:
        pass


# Holding


async def held(subject: Subject) -> BookVacationInput:
    """Hold an item, and return the trip. Skips the check if the supplier holds nothing."""
    trip = subject.trip(hold_seconds=900)
    answer = await subject.ask("book", lambda: subject.supplier.book(trip, 1))
    if not isinstance(answer, Held):
        pytest.skip(f"holds nothing: book answered {answer} to a trip that is to be held")
    assert 0 < answer.seconds <= LONGEST_HOLD, f"it holds for {answer.seconds} s"
    return trip


async def confirm(subject: Subject, trip: BookVacationInput) -> Confirmed | Pending:
    return await subject.ask("confirm", lambda: subject.supplier.confirm(trip))


async def test_what_is_held_is_found_and_booked_once_however_often_it_is_confirmed(
    subject: Subject,
) -> None:
    trip = await held(subject)
    found = await subject.find(trip)
    assert isinstance(found, Held), f"find answers {found} for what is held"
    answers = [await confirm(subject, trip) for _ in range(3)]
    assert len(set(answers)) == 1, f"one trip was confirmed more than once: {answers}"
    found = await subject.find(trip)
    assert found == answers[0], f"confirm answered {answers[0]}, and find answers {found}"
    await subject.cancel(trip)
    await subject.assert_nothing_is_held(trip, "three confirms and one cancellation")


async def test_a_hold_is_the_same_however_often_it_is_sent(subject: Subject) -> None:
    trip = await held(subject)
    again = await subject.ask("book", lambda: subject.supplier.book(trip, 2))
    assert isinstance(again, Held), f"book answered {again} to a trip that is held"
    await subject.cancel(trip)
    await subject.assert_nothing_is_held(trip, "two holds of a trip and one cancellation")


async def test_what_was_released_cannot_be_confirmed(subject: Subject) -> None:
    trip = await held(subject)
    await subject.cancel(trip)
    with pytest.raises(Refused) as refused:
        await confirm(subject, trip)
    assert_for_travellers(str(refused.value), trip, subject)


async def test_what_was_never_held_cannot_be_confirmed(subject: Subject) -> None:
    await subject.cancel(await held(subject))
    with pytest.raises(Refused):
        await confirm(subject, subject.trip())


# Booking


async def test_a_trip_is_booked_and_found(subject: Subject) -> None:
    trip = subject.trip()
    confirmed = await subject.book(trip)
    found = await subject.find_booked(trip)
    assert found == confirmed, f"book answered {confirmed}, and find answers {found}"


async def test_what_was_never_asked_for_is_found_as_none(subject: Subject) -> None:
    found = await subject.find(subject.trip())
    assert found is None, f"find answers {found} for a trip that was never booked: answer None"


async def test_a_trip_is_booked_once_however_often_it_is_sent(subject: Subject) -> None:
    trip = subject.trip()
    answers = [await subject.book(trip, attempt) for attempt in (1, 2, 3)]
    assert len(set(answers)) == 1, f"one trip was booked more than once: {answers}"
    await subject.cancel(trip)
    await subject.assert_nothing_is_held(trip, "three bookings of a trip and one cancellation")


async def test_a_trip_is_booked_once_by_many_calls_at_once(subject: Subject) -> None:
    trip = subject.trip()
    calls = (subject.book(trip, 1 + number, crowd=True) for number in range(CROWD))
    answers = await asyncio.gather(*calls)
    assert len(set(answers)) == 1, f"{CROWD} calls at once booked a trip more than once: {answers}"
    await subject.cancel(trip)
    await subject.assert_nothing_is_held(trip, f"{CROWD} bookings at once and one cancellation")


async def test_another_item_of_a_booked_trip_is_refused(subject: Subject) -> None:
    trip = subject.trip()
    wish: dict[str, Any] = {f"book_{subject.kind}_id": subject.given("other")}
    other = dataclasses.replace(trip, **wish)
    confirmed = await subject.book(trip)
    await subject.refusal(other, "the trip has booked another item")
    found = await subject.find_booked(trip)
    assert found == confirmed, f"another item was refused, and then find answers {found}"


async def test_an_unknown_item_is_refused_in_words_for_travellers(subject: Subject) -> None:
    await assert_refused(subject, subject.given("unknown"), "there is no such item")


async def test_a_sold_out_item_is_refused_in_words_for_travellers(subject: Subject) -> None:
    await assert_refused(subject, subject.given("sold_out"), "the item is sold out")


async def assert_refused(subject: Subject, item: str, why: str) -> None:
    trip = subject.trip(item)
    assert_for_travellers(await subject.refusal(trip, why), trip, subject)
    await subject.assert_nothing_is_held(trip, "a refusal")


async def test_what_is_pending_is_decided_in_time_and_found(subject: Subject) -> None:
    trip, watched = subject.trip(subject.given("pending")), Watched(subject)
    with nothing_refused():
        confirmed = await subject.through(lambda: subject.desk(watched).book(trip, Try()))
    first, *more = watched.answers
    assert isinstance(first, Pending), f"book answered {first}: the item must be pending at first"
    assert not more, f"find did not tell of what is pending: it was sent again, and then {more}"
    found = await subject.find_booked(trip)
    assert found == confirmed, f"{confirmed} was decided, and then find answers {found}"


async def test_what_is_pending_can_be_cancelled(subject: Subject) -> None:
    trip, supplier = subject.trip(subject.given("pending")), subject.supplier
    with nothing_refused():
        await subject.ask("book", lambda: supplier.book(trip, 1))
        await subject.find_booked(trip)
        answer = await subject.ask("cancel", lambda: supplier.cancel(trip))
    if isinstance(answer, Pending):
        await subject.pause(answer.wait or 1.0)
    await subject.assert_nothing_is_held(trip, "what was pending was cancelled")


async def test_two_trips_do_not_mix(subject: Subject) -> None:
    one, other = subject.trip(), subject.trip()
    first, second = await subject.book(one), await subject.book(other)
    named = first.reference is not None
    assert not (named and first == second), f"two trips have the same reference: {first.reference}"
    await subject.cancel(one)
    await subject.assert_nothing_is_held(one, "its cancellation")
    found = await subject.find_booked(other)
    assert found == second, f"another trip was cancelled, and find answers {found} for this one"


async def test_odd_trip_ids_come_through(subject: Subject) -> None:
    for name in ODD_IDS:
        trip = subject.trip(name=name)
        confirmed = await subject.book(trip)
        found = await subject.find_booked(trip)
        assert found == confirmed, f"find answers {found} for the trip with {name!r} in its id"
        await subject.cancel(trip)
        await subject.assert_nothing_is_held(trip, f"the cancellation of a trip with {name!r}")


async def test_trips_whose_ids_look_alike_do_not_mix(subject: Subject) -> None:
    for name, alike in (("-x/y", "-x%2Fy"), ("-Case", "-case"), ("-é", "-e"), ("-1", "-1 ")):
        trip = subject.trip(name=name)
        await subject.book(trip)
        await subject.find_booked(trip)
        other = dataclasses.replace(trip, book_user_id=trip.book_user_id.removesuffix(name) + alike)
        found = await subject.find(other)
        assert found is None, f"{name!r} was booked, and find answers {found} for {alike!r}"


async def test_odd_items_are_booked_or_refused(subject: Subject) -> None:
    for item in ODD_ITEMS:
        trip = subject.trip(item)
        await booked_or_refused(subject, trip)
        await subject.cancel(trip)
        await subject.assert_nothing_is_held(trip, f"{item!r} was refused, or cancelled")


async def test_no_call_holds_up_the_event_loop(subject: Subject) -> None:
    """One that waits for a blocking library stops every trip of the worker."""
    trip, supplier = subject.trip(), subject.supplier
    calls: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        "book": lambda: supplier.book(trip, 1),
        "find": lambda: supplier.find(trip),
        "cancel": lambda: supplier.cancel(trip),
    }
    for name, call in calls.items():
        task = asyncio.create_task(call())
        await asyncio.sleep(0)  # It runs until it waits for something.
        blocked = task.done()
        with contextlib.suppress(Exception):
            await asyncio.wait_for(task, subject.try_seconds)
        assert not blocked, f"{name} never awaits: call a blocking library by asyncio.to_thread"


# Cancelling


async def test_a_cancelled_trip_holds_nothing_and_refuses_every_later_booking(
    subject: Subject,
) -> None:
    trip = subject.trip()
    await subject.book(trip)
    await subject.cancel(trip)
    await subject.assert_nothing_is_held(trip, "a booking and its cancellation")
    await subject.refusal(trip, "the trip was cancelled; a late call must not book it again")
    await subject.assert_nothing_is_held(trip, "a late booking of a cancelled trip")


async def test_a_trip_that_was_cancelled_before_it_was_booked_refuses_every_booking(
    subject: Subject,
) -> None:
    trip = subject.trip()
    await subject.cancel(trip)
    await subject.refusal(trip, "its cancellation came first: keep a tombstone")
    await subject.assert_nothing_is_held(trip, "a cancellation before the booking")


async def test_cancelling_again_changes_nothing(subject: Subject) -> None:
    trip = subject.trip()
    await subject.book(trip)
    await subject.find_booked(trip)
    await subject.cancel(trip)
    for _ in range(2):
        with nothing_refused():
            answer = await subject.ask("cancel", lambda: subject.supplier.cancel(trip))
        assert answer == Released(), f"a repeated cancel answered {answer}: answer Released"
    await subject.assert_nothing_is_held(trip, "three cancellations")


async def test_a_cancellation_that_meets_the_booking_leaves_nothing(subject: Subject) -> None:
    for booked_first in (True, False) * 2:
        trip = subject.trip()
        calls = [booked_or_refused(subject, trip), subject.cancel(trip)]
        await asyncio.gather(*calls[:: 1 if booked_first else -1])
        await subject.assert_nothing_is_held(trip, "a booking and a cancellation at once")


async def booked_or_refused(subject: Subject, trip: BookVacationInput) -> None:
    with contextlib.suppress(Refused):
        await subject.attempt(trip, crowd=True)


# A lost answer


async def test_a_booking_whose_answer_was_lost_is_found_and_not_booked_again(
    subject: Subject,
) -> None:
    trip, lossy = subject.trip(), Watched(subject, loses=True)
    desk = subject.desk(lossy)
    with nothing_refused():
        with contextlib.suppress(OutcomeUnknown):
            await desk.book(trip, Try())
        confirmed = await subject.through(lambda: desk.book(trip, Try()))
    found = await subject.find_booked(trip)
    assert found == confirmed, f"{confirmed} was booked, and find answers {found}"
    sent = len(lossy.answers)
    assert sent == 1, f"find did not tell of it {told_when(subject)}: it was sent {sent} times"


async def test_a_booking_whose_answer_was_lost_is_found_and_cancelled(subject: Subject) -> None:
    trip, desk = subject.trip(), subject.desk(Watched(subject, loses=True))
    with nothing_refused():
        with contextlib.suppress(OutcomeUnknown):
            await desk.book(trip, Try())
        await subject.through(lambda: desk.cancel(trip, Try()))
    await subject.assert_nothing_is_held(trip, "a booking whose answer was lost was cancelled")


def told_when(subject: Subject) -> str:
    return f"within {subject.late:g} seconds" if subject.late else "at once"
