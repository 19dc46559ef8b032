"""Plants one fault of each kind after chaos, by hand, and shows what the audit says of them.

In the database by SQL, in Temporal by its own commands, at the suppliers by their own interface.
For trips that are still running the workers, which audit by themselves, are stopped and a few more
are asked for.
"""

import asyncio
import datetime as dt
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from record import UNHELD
from record.tables import reservations, trips
from shared import KINDS
from tests.chaos.agreement import Agreement
from tests.processes import ROOT, bare_environment
from tests.trips import delete

ON_ITS_WAY = 61.0
"""Seconds after which a workflow that the record does not know is no new one any more."""

LONG_AGO = dt.timedelta(hours=5)

ITEMS: dict[str, Any] = {kind: f"valid-{kind}" for kind in KINDS}

PLAIN = re.compile(r"valid-car-\d+")
"""A car with which nothing is difficult."""

RUNNING = ("overdue", "outcome_unknown", "still_running", "not_recorded", "stopped", "deleted")
"""What is planted in trips that are still running."""


class Planting:
    """Plants faults in the trips of a service, each in a trip of its own."""

    def __init__(self, agreement: Agreement) -> None:
        self._agreement = agreement
        self._service = agreement.service
        self._planted: dict[str, str] = {}
        """What was planted in which trip."""
        self._now = dt.datetime.now(dt.UTC)

    async def show(self) -> list[str]:
        """Plant, audit twice, and return what was planted and what the audit said.

        What it did not find, or found again though it was mended or marked, is a violation.
        """
        running = await self._start()
        await asyncio.sleep(ON_ITS_WAY)
        await self._plant_in_running(running)
        await self._plant_in_ended()
        first, second = await self._audit(), await self._audit()
        return [*self._judged(first, second), "", "$ python -m audit", *first, "", *second]

    def _judged(self, first: list[str], second: list[str]) -> Iterator[str]:
        yield f"{len(self._planted)} faults planted:"
        for trip_id, what in self._planted.items():
            yield f"  {trip_id}: {what}"
            if not any(trip_id in line for line in first):
                self._agreement.violate("other", trip_id, f"was not found by the audit: {what}")
        for line in first:
            if line.startswith("Trip ") and line.split()[1] not in self._planted:
                self._agreement.violate("other", line, "was said, and nothing was planted there")
        for line in second:
            if line.startswith("Trip ") and line in first and "; it" in line:
                self._agreement.violate("other", line, "is said again")

    async def _audit(self) -> list[str]:
        settings = bare_environment() | self._service.settings
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "audit"],
            cwd=ROOT,
            env=settings,
            capture_output=True,
            text=True,
        )
        return [*(done.stdout + done.stderr).splitlines(), f"exit code {done.returncode}"]

    # What is still running

    async def _start(self) -> dict[str, str]:
        """Ask for trips that nobody works on, one for each fault."""
        for worker in self._service.workers:
            worker.kill()
        running = {}
        for what in RUNNING:
            body = {"name": f"Planted {what}"} | ITEMS
            headers = {"Prefer": "respond-async"}
            answer = await asyncio.to_thread(self._service.request, "POST", "/book", body, headers)
            running[what] = answer.body["user_id"]
        return running

    async def _plant_in_running(self, running: dict[str, str]) -> None:
        handle = self._agreement.client.get_workflow_handle
        await self._change(running["overdue"], "overdue", accepted_at=self._now - LONG_AGO)
        unknown = running["outcome_unknown"]
        self._note(unknown, "outcome_unknown: its hotel has been pending for five hours")
        await self._execute(
            sa.insert(reservations).values(
                trip_id=unknown,
                kind="hotel",
                item="valid-hotel",
                state="pending",
                supplier="somewhere",
                created_at=self._now - LONG_AGO,
                updated_at=self._now - LONG_AGO,
            )
        )
        ended = {"status": "booked", "closed_at": self._now - dt.timedelta(minutes=10)}
        await self._change(running["still_running"], "still_running", **ended)
        self._note(running["not_recorded"], "not_recorded: its row is deleted")
        row = trips.c.trip_id == running["not_recorded"]
        await self._execute(sa.delete(trips).where(row))
        for what in ("stopped", "deleted"):
            self._note(running[what], f"stopped: its workflow is {what}")
            await handle(running[what]).terminate()
        await delete(self._agreement.client, running["deleted"])

    # What has ended

    async def _plant_in_ended(self) -> None:
        rows, kept = await self._agreement._stored()
        plain = [row for row in rows if PLAIN.fullmatch(row.request["car"])]
        remembered = [row for row in plain if row.trip_id not in self._agreement.forgotten]
        booked = iter([row.trip_id for row in remembered if row.status == "booked"])
        undone = iter(
            [
                row.trip_id
                for row in plain
                if row.status in UNHELD and any(each.kind == "car" for each in kept[row.trip_id])
            ]
        )
        opened = {"status": "running", "closed_at": None, "told_at": None}
        await self._change(_one_of(booked), "lost_ending", **opened)
        await self._change(_one_of(booked), "another_outcome", status="rolled_back")
        await self._reservation(_one_of(booked), "not_held", state="cancelled")
        await self._reservation(_one_of(booked), "another_item", item="another-car")
        await self._reservation(_one_of(undone), "held_after_end", state="reserved")
        lost = _one_of(booked)
        self._note(lost, "unknown_trip: its row is deleted")
        await self._execute(sa.delete(trips).where(trips.c.trip_id == lost))
        never = "never-started-1"
        self._note(never, "never_started: accepted ten minutes ago, and no workflow")
        accepted = {
            "trip_id": never,
            "workflow_id": never,
            "owner": "anonymous",
            "request": {"name": "Planted", "attempts": 1} | ITEMS,
            "status": "running",
            "accepted_at": self._now - dt.timedelta(minutes=10),
        }
        await self._execute(sa.insert(trips).values(accepted))
        if outside := self._agreement.outside:
            outside.forget_tombstones()
            gone, other, late = _one_of(booked), _one_of(booked), _one_of(undone)
            self._note(gone, "not_held: its hotel is cancelled at the supplier")
            outside.cancel("hotel", gone)
            self._note(other, "another_item: its hotel is another one at the supplier")
            outside.cancel("hotel", other)
            outside.book("hotel", other, "another-hotel")
            car = next(row.request["car"] for row in rows if row.trip_id == late)
            self._note(late, "held_after_end: its car is booked late at the supplier")
            outside.book("car", late, car)

    async def _change(self, trip_id: str, what: str, **values: Any) -> None:
        shown = {name: str(value) for name, value in values.items()}
        self._note(trip_id, f"{what}: its row is given {shown}")
        change = sa.update(trips).where(trips.c.trip_id == trip_id).values(values)
        await self._execute(change)

    async def _reservation(self, trip_id: str, what: str, **values: Any) -> None:
        self._note(trip_id, f"{what}: its car's row is given {values}")
        is_it = (reservations.c.trip_id == trip_id) & (reservations.c.kind == "car")
        await self._execute(sa.update(reservations).where(is_it).values(values))

    def _note(self, trip_id: str, what: str) -> None:
        self._planted[trip_id] = what

    async def _execute(self, statement: sa.Executable) -> None:
        await asyncio.to_thread(_executed, self._service.database_url, statement)


def _executed(database_url: str, statement: sa.Executable) -> None:
    engine = sa.create_engine(database_url)
    try:
        with engine.begin() as connection:
            connection.execute(statement)
    finally:
        engine.dispose()


def _one_of(trip_ids: Iterator[str]) -> str:
    """Return the next trip. Raises `SystemExit` if there is none left."""
    for trip_id in trip_ids:
        return trip_id
    raise SystemExit("Too few trips have ended to plant a fault of each kind: ask for more of them")
