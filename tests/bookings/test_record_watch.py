"""What waits learn from the record, and what that costs."""

import asyncio
import contextlib
from collections.abc import Collection

from bookings.record_watch import RecordWatch
from record import RecordBroken, RecordedTrip, RecordUnavailable
from tests.bookings.requests import new_trip


class Rows:
    """A record that tells of some trips, whatever it is asked about."""

    def __init__(self, *trip_ids: str) -> None:
        self.rows = [new_trip(trip_id) for trip_id in trip_ids]
        self.asked: list[set[str]] = []

    async def not_just_running(self, trip_ids: Collection[str]) -> list[RecordedTrip]:
        self.asked.append(set(trip_ids))
        return [row for row in self.rows if row.trip_id in trip_ids]


def told(_: RecordedTrip) -> bool:
    return True


async def test_all_that_are_waited_for_are_asked_about_in_one_question() -> None:
    rows = Rows("trip-49")
    watch = RecordWatch(rows.not_just_running)
    names = [f"trip-{number}" for number in range(50)]
    with contextlib.ExitStack() as stack:
        seen = {name: stack.enter_context(watch.watching(name, told)) for name in names}
        async with asyncio.timeout(20):
            await seen["trip-49"]
        assert rows.asked == [set(names)]
        assert [name for name in names if seen[name].done()] == ["trip-49"]
    await asyncio.sleep(0.2)
    assert len(rows.asked) == 1, "Nobody waits, nobody asks"
    with watch.watching("trip-1", told):
        pass
    with watch.watching("trip-49", told) as again:
        async with asyncio.timeout(20):
            await again


async def test_each_wait_of_a_trip_ends_when_it_says_so() -> None:
    rows = Rows("trip-1")
    watch = RecordWatch(rows.not_just_running)
    with (
        watch.watching("trip-1", lambda _: len(rows.asked) > 2) as patient,
        watch.watching("trip-1", told) as impatient,
    ):
        async with asyncio.timeout(20):
            await impatient
            assert not patient.done()
            await patient
    assert len(rows.asked) == 3


async def test_a_record_that_is_away_ends_no_wait() -> None:
    outages = [RecordUnavailable("away"), RecordBroken("a bug")]
    rows = Rows("trip-1")

    async def not_just_running(trip_ids: Collection[str]) -> list[RecordedTrip]:
        if outages:
            raise outages.pop()
        return await rows.not_just_running(trip_ids)

    watch = RecordWatch(not_just_running)
    with watch.watching("trip-1", told) as seen:
        async with asyncio.timeout(20):
            await seen
    assert not outages
