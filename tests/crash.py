"""Books a trip, kills the worker while it books the hotel, and shows what becomes of the trip.

    python -m tests.crash

It needs the service of `make run`, in another terminal. Temporal knows which worker has the hotel
in hand, so no other process is killed.
"""

import asyncio
import contextlib
import datetime as dt
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client
from temporalio.service import RPCError

from api import keys_of, owners_of
from bookings import Bookings, BookingsError, Caller
from connection import encryption_of, lazy_client, temporal_config
from lifecycle import leave, stop_at_once_when_told
from record import Record, RecordedTrip, RecordError
from settings import Settings, load_settings
from shared import KINDS, host_name, is_loopback, new_user_id

POLL_INTERVAL = 0.05

NAME = "Crash Test"
ITEMS: dict[str, str] = {kind: f"valid-{kind}-id" for kind in KINDS}
REQUEST = {"name": NAME, "attempts": 5, **ITEMS}


class NotShown(Exception):
    """The crash cannot be shown. The text tells why."""


async def crash(client: Client, record: Record, settings: Settings) -> None:
    """Book a trip, crash its worker, and say what happens. Raises `NotShown`."""
    bookings, trip_id = Bookings(client, record, settings.saga_policy), new_user_id(NAME)
    if obstacle := await bookings.check_ready():
        raise NotShown(f"{obstacle}. Start `make run` in another terminal")
    caller = Caller(sorted(owners_of(keys_of(settings.api_keys)))[0], operator=True)
    say(f"Book {trip_id}")
    trip = await bookings.book(trip_id, REQUEST, caller.name, seconds=0)
    told: list[str] = []
    killed_at = None
    while True:
        fresh = [line for line in news(trip) if line not in told]
        say(*fresh)
        told += fresh
        if trip.status != "running":
            break
        if killed_at is None and "hotel: booking" in told:
            killed_at = await kill_at_the_hotel(client, trip_id, settings)
        await asyncio.sleep(POLL_INTERVAL)
        trip = await bookings.look_up(trip_id, caller)
    if killed_at is None:
        raise NotShown(
            f"It is {trip.status}: the hotel was too fast. HOTEL_LATENCY_SECONDS makes it slower; "
            "beside `make run SUPPLIERS=http` say `make crash SUPPLIERS=http`"
        )
    seconds = time.monotonic() - killed_at
    say(
        f"The trip is {trip.status}, {seconds:.0f} s after the crash",
        *(f"Held: {step.kind} {step.item}" for step in trip.steps if step.held),
    )
    if trip.status != "booked":
        raise NotShown("It should have been booked")


async def kill_at_the_hotel(client: Client, trip_id: str, settings: Settings) -> float | None:
    """Kill the worker that books the hotel now and return when; `None`: nobody does."""
    worker = await worker_at_the_hotel(client, trip_id)
    if worker is None:
        return None
    pid, _, host = worker.partition("@")
    if host != socket.gethostname() or not pid.isdecimal():
        raise NotShown(f"The worker, {worker}, is not of this machine")
    os.kill(int(pid), signal.SIGKILL)
    patience = settings.saga_policy.heartbeat_timeout
    say(
        f"Kill the worker in the middle of the hotel: kill -9 {pid}",
        f"Wait: a worker is taken for dead after {patience:g} s without a heartbeat",
    )
    return time.monotonic()


async def worker_at_the_hotel(client: Client, trip_id: str) -> str | None:
    """Return the identity of the worker that books the hotel now, `None` if nobody does."""
    with contextlib.suppress(RPCError):  # The workflow is about to be started.
        described = await client.get_workflow_handle(trip_id).describe()
        for pending in described.raw_description.pending_activities:
            started = pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
            if started and pending.activity_type.name == "book_hotel":
                return pending.last_worker_identity
    return None


def news(trip: RecordedTrip) -> Iterator[str]:
    """Yield a line for each step that has begun: where it is."""
    for step in trip.steps:
        if step.state != "pending":
            yield f"{step.kind}: {step.state}"


def say(*lines: str) -> None:
    """Write lines, with the time."""
    sys.stdout.writelines(f"{dt.datetime.now():%H:%M:%S} {line}\n" for line in lines)
    sys.stdout.flush()


async def main() -> None:
    """Show a crash. Raises `NotShown`, `BookingsError` and `RecordError`."""
    settings, config = load_settings(), temporal_config()
    address = config["target_host"]
    if not is_loopback(host_name(address)):
        raise NotShown(f"It kills a worker of this machine, and Temporal is at {address}")
    client = await lazy_client(config, encryption_of(settings.payload_keys))
    async with Record.open(settings.database_url.get_secret_value()) as record:
        await crash(client, record, settings)


if __name__ == "__main__":
    stop_at_once_when_told()
    try:
        asyncio.run(main())
    except (NotShown, BookingsError, RecordError) as error:
        sys.stderr.write(f"{error}.\n")
        leave(1)
    leave()
