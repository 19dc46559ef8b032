"""The events as a caller follows them, and how an operator has one sent again."""

import logging

import pytest

from bookings import BookingConflict, Bookings, Caller, EventNotFound
from record import Record
from tests.bookings.requests import DESK, SHOP, UNASKED, planted
from tests.conftest import IMPATIENT

NOBODY = Caller("nobody", operator=False)


@pytest.fixture
async def asked(record: Record) -> Bookings:
    """The bookings, whose events the record alone has."""
    return Bookings(UNASKED, record, IMPATIENT)


async def test_a_follower_is_told_each_event_of_its_trips_once(
    asked: Bookings, record: Record
) -> None:
    followed, cursor, own = list[str](), "0", list[str]()
    for number in range(4):
        own.append(await planted(record, owner=SHOP.name))
        await planted(record, "rolled_back", owner="other")
        await record.events.number(deliver=bool(number % 2))
        for expected in (1, 0):
            page, cursor = await asked.events(cursor, 1, SHOP)
            assert len(page) == expected
            followed += [event.trip_id for event in page]
    assert followed == own
    assert await asked.events(cursor, 100, SHOP) == ([], cursor)
    assert len((await asked.events("0", 100, DESK))[0]) == 8
    assert await asked.events("0", 100, NOBODY) == ([], "0")


async def test_a_cursor_of_the_future_is_answered(asked: Bookings) -> None:
    assert await asked.events("9" * 18, 100, DESK) == ([], "9" * 18)


async def test_an_event_is_sent_again_and_the_log_names_who_asked(
    asked: Bookings, record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    trip_id = await planted(record)
    (event_id,) = await record.events.number(deliver=True)
    await record.events.note_delivered(event_id)
    assert await asked.undelivered(9) == []
    with caplog.at_level(logging.INFO, "bookings"):
        event = await asked.deliver_again(event_id, DESK)
    assert (event.trip_id, event.delivery) == (trip_id, "again")
    assert await asked.undelivered(9) == [event]
    assert [each.message for each in caplog.records] == [
        f"Caller desk asks for: event {event_id} sent again"
    ]


@pytest.mark.parametrize("event_id", ["evt_unknown", "a\0b", "\udc80", "x" * 10_000])
async def test_an_event_that_is_none_is_not_found(asked: Bookings, event_id: str) -> None:
    with pytest.raises(EventNotFound):
        await asked.deliver_again(event_id, DESK)


async def test_what_there_was_no_webhook_for_is_not_sent_later(
    asked: Bookings, record: Record
) -> None:
    await planted(record)
    await record.events.number(deliver=False)
    ((event,), _) = await asked.events("0", 9, DESK)
    with pytest.raises(BookingConflict, match="no webhook"):
        await asked.deliver_again(event.event_id, DESK)
    assert await asked.undelivered(9) == []
