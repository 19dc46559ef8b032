"""The relay: whatever it dies of, each event is delivered, and no more often than need be."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from temporalio.client import ActivityExecutionStatus, Client
from temporalio.service import RPCError, RPCStatusCode

from record import Record, RecordUnavailable
from tests.conftest import trip
from tests.record.test_events import booked, due
from tests.suppliers.over_http.raw_service import Answer, RawService, http
from tests.trips import eventually, start
from tests.webhooks.receiving import tried, verified
from tests.workers import running_worker
from webhooks import Relay, Sender, delivery_worker, sending
from webhooks import relay as relays

IN_TEMPORAL = 3_600.0
"""A wait that no test outlasts."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what is left over begun at once, and a failed try not be repeated by itself."""
    monkeypatch.setattr(relays, "LEFT_AFTER", -1.0)
    monkeypatch.setattr(sending, "WAITS", (IN_TEMPORAL,))


@pytest.fixture
def relay(client: Client, record: Record) -> Relay:
    return Relay(client, record.events, deliver=True)


@asynccontextmanager
async def delivering(client: Client, sender: Sender) -> AsyncIterator[None]:
    async with delivery_worker(client, sender, grace=1):
        yield


async def all_over(record: Record, count: int) -> None:
    """Wait until so many events are delivered, and no activity has anything left to do."""

    async def are_delivered() -> bool:
        events = await record.events.after(0, 100)
        return [each.delivery for each in events].count("delivered") == count

    await eventually(are_delivered)


async def is_closed(client: Client, event_id: str) -> bool:
    described = await client.get_activity_handle(event_id).describe()
    return described.status != ActivityExecutionStatus.RUNNING


def ids(receiver: RawService) -> list[str]:
    return [str(verified(each)["id"]) for each in receiver.requests]


async def test_an_event_is_delivered_once_and_those_before_the_webhook_are_not(
    client: Client, record: Record, receiver: RawService, sender: Sender, relay: Relay
) -> None:
    await booked(record, "before")
    await Relay(client, record.events, deliver=False).pass_on()
    await booked(record, "after")
    await relay.pass_on()
    await relay.pass_on()
    async with delivering(client, sender):
        await all_over(record, 1)
    before, after = await record.events.after(0, 9)
    assert ids(receiver) == [after.event_id]
    assert (before.delivery, after.trip_id) == (None, "after")


async def test_without_a_webhook_events_get_their_places_and_temporal_is_asked_nothing(
    record: Record,
) -> None:
    nobody = cast(Client, None)
    for number in range(3):
        await booked(record, f"trip-{number}")
        await Relay(nobody, record.events, deliver=False).pass_on()
    assert [each.position for each in await record.events.after(0, 9)] == [1, 2, 3]


async def test_what_a_relay_has_numbered_and_not_begun_is_begun_by_the_next(
    client: Client, record: Record, receiver: RawService, sender: Sender, relay: Relay
) -> None:
    event_ids = await due(record, 60)
    assert await relay.pass_on(), "More are left"
    assert not await relay.pass_on()
    async with delivering(client, sender):
        await all_over(record, 60)
    assert sorted(ids(receiver)) == sorted(event_ids)


@pytest.mark.parametrize("ended", [True, False])
async def test_what_a_relay_has_begun_and_not_noted_is_not_sent_twice(
    client: Client,
    record: Record,
    receiver: RawService,
    sender: Sender,
    relay: Relay,
    monkeypatch: pytest.MonkeyPatch,
    ended: bool,
) -> None:
    async def dies(_: Any) -> None:
        raise RecordUnavailable("It is away")

    await booked(record)
    with monkeypatch.context() as patch:
        patch.setattr(record.events, "note_begun", dies)
        with pytest.raises(RecordUnavailable):
            await relay.pass_on()
    (event,) = await record.events.after(0, 9)
    assert event.delivery == "due"
    if not ended:
        await relay.pass_on()
    async with delivering(client, sender):
        await all_over(record, 1)
        await relay.pass_on()
        await eventually(lambda: is_closed(client, event.event_id))
    assert ids(receiver) == [event.event_id]


async def test_while_temporal_is_away_events_wait(
    client: Client,
    record: Record,
    receiver: RawService,
    sender: Sender,
    relay: Relay,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def away(*_: Any, **__: Any) -> Any:
        raise RPCError("It is away", RPCStatusCode.UNAVAILABLE, b"")

    await booked(record)
    with monkeypatch.context() as patch:
        patch.setattr(type(client), "start_activity_method", away)
        for _ in range(2):
            with pytest.raises(RPCError):
                await relay.pass_on()
    await relay.pass_on()
    async with delivering(client, sender):
        await all_over(record, 1)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [204, 410, 500])
async def test_an_event_is_sent_again_when_that_is_asked_for(
    client: Client,
    record: Record,
    receiver: RawService,
    sender: Sender,
    relay: Relay,
    status: int,
) -> None:
    """Whether Temporal still carries it, waiting for its next try, or has ended it."""
    receiver.says(http(status), http(204))
    await booked(record)
    async with delivering(client, sender):
        await relay.pass_on()
        (event,) = await record.events.after(0, 9)

        async def has_ended() -> bool:
            (now,) = await record.events.after(0, 9)
            return now.delivery in ("delivered", "refused") or now.failures == 1

        await eventually(has_ended)
        if status != 500:
            await eventually(lambda: is_closed(client, event.event_id))
        await record.events.deliver_again(event.event_id)
        await relay.pass_on()
        await all_over(record, 1)
        await eventually(lambda: is_closed(client, event.event_id))
        await relay.pass_on()
    assert ids(receiver) == [event.event_id] * 2


async def test_once_the_receiver_is_back_all_that_waits_is_sent(
    client: Client, record: Record, receiver: RawService, sender: Sender, relay: Relay
) -> None:
    receiver.says(http(503))
    async with delivering(client, sender):
        event_ids = await due(record, 30)
        await relay.pass_on()

        async def all_have_failed() -> bool:
            return all(each.failures == 1 for each in await record.events.after(0, 100))

        await eventually(all_have_failed)
        receiver.says(http(204))
        assert await tried(sender, event_ids[0]) is None
        await relay.pass_on()
        await all_over(record, 30)
    counts = {event_id: ids(receiver).count(event_id) for event_id in event_ids}
    assert set(counts.values()) == {2}


@pytest.mark.parametrize("again", [False, True])
async def test_two_relays_that_begin_the_same_have_it_sent_once(
    client: Client, record: Record, receiver: RawService, sender: Sender, again: bool
) -> None:
    event_ids = await due(record, 20)
    both = [Relay(client, record.events, deliver=True) for _ in range(2)]
    async with delivering(client, sender):
        await asyncio.gather(*(each.pass_on() for each in both))
        await all_over(record, 20)
        if again:
            for event_id in event_ids:
                await record.events.deliver_again(event_id)
            await asyncio.gather(*(each.pass_on() for each in both))
            await all_over(record, 20)
        for event_id in event_ids:
            await eventually(lambda event_id=event_id: is_closed(client, event_id))  # type: ignore[misc]
    counts = {event_id: ids(receiver).count(event_id) for event_id in event_ids}
    assert set(counts.values()) == {1 + again}


async def test_a_receiver_that_never_answers_delays_no_trip(
    client: Client, record: Record, receiver: RawService, sender: Sender, relay: Relay
) -> None:
    receiver.says(Answer(b"", "hold"))
    async with delivering(client, sender), running_worker(client, record):
        await due(record, 30)
        await relay.pass_on()
        await receiver.asked(20)
        await (await start(client, trip())).result()
        assert len(receiver.requests) == 20, "no more than so many at once"


async def test_a_relay_goes_on_after_an_outage(
    record: Record, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [RecordUnavailable("It is away"), ZeroDivisionError("A bug")]
    done = asyncio.Event()

    async def number(*, deliver: bool) -> list[str]:
        if failures:
            raise failures.pop(0)
        done.set()
        return []

    monkeypatch.setattr(record.events, "number", number)
    relay = Relay(cast(Client, None), record.events, deliver=False)
    monkeypatch.setattr(relays, "LEFT_AFTER", 0.0)
    running = asyncio.create_task(relay.pass_on_for_ever())
    await asyncio.wait_for(done.wait(), 10)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert [each.levelname for each in caplog.records] == ["WARNING", "ERROR"]
