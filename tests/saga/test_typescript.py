"""Temporal's client in TypeScript starts trips with the tutorial's five fields."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from shared import TASK_QUEUE_NAME
from tests.saga.stage import Stage
from tests.saga.test_inputs import five
from tests.trips import events, replay
from tests.workers import running_all, work_with
from workflows import BookingWorkflow

PACKAGES = Path(sys.prefix, "node/node_modules")
START = Path(__file__).with_name("start.js")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (PACKAGES / "@temporalio").exists(),
        reason="Temporal's client in TypeScript is missing: make .venv/.node installs it",
    ),
]


async def by_typescript(client: Client, told: dict[str, Any]) -> tuple[int | None, str]:
    """Start a trip, and return the script's exit code and what it said."""
    words = (client.service_client.config.target_host, TASK_QUEUE_NAME, told["book_user_id"])
    script = await asyncio.create_subprocess_exec(
        Path(sys.prefix, "bin/node"),
        START,
        *words,
        json.dumps(told),
        env={"NODE_PATH": str(PACKAGES)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await script.communicate()
    return script.returncode, said.decode()


async def test_a_trip_from_typescript_keeps_to_the_workers_settings(
    empty_stage: Stage, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So it has a task queue of its own, which keeps the rate.
    monkeypatch.setenv("HOTEL_SUPPLIER_CALLS_PER_SECOND", "100")
    told = five()
    async with running_all(client, work_with(empty_stage.record, step_deadline_seconds=300)):
        code, said = await by_typescript(client, told)
        assert (code, json.loads(said)["status"]) == (0, "success")
        odd = five(attempts="5")
        code, said = await by_typescript(client, odd)
        assert (code, said) == (
            1,
            "Not the input of a trip: attempts Input should be a valid integer\n",
        )
    booking = client.get_workflow_handle_for(BookingWorkflow.run, told["book_user_id"])
    scheduled = [each.activity_task_scheduled_event_attributes for each in await events(booking)]
    limits = {each.schedule_to_close_timeout.seconds for each in scheduled if each.activity_id}
    assert limits == {300}
    queues = {each.activity_type.name: each.task_queue.name for each in scheduled}
    assert queues["book_hotel"] == f"{TASK_QUEUE_NAME}-hotel"
    await replay(client, booking)
