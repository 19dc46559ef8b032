"""How the processes log, each in a process of its own: logging is set up once per process."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.processes import ROOT, free_port, service

SET_UP = """
from settings import Settings
from telemetry import configure_logging

settings = Settings()
configure_logging(settings.log_level, settings.log_format)
"""

SCRIPT = f"""
import asyncio, dataclasses, logging
from temporalio import activity
from temporalio.testing import ActivityEnvironment
{SET_UP}

async def speak():
    activity.logger.info("Booking %s", "a car")
    logging.getLogger("suppliers").warning("A supplier's own line")
    try:
        raise RuntimeError("The hotel is down")
    except RuntimeError:
        activity.logger.warning("Failed", exc_info=True)

for kind, workflow_id in (
    ("BookingWorkflow", "john-doe-1"),
    ("CancelBookingWorkflow", "cancellation:john-doe-1"),
    ("AuditWorkflow", "audit"),
):
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(
        environment.info, workflow_id=workflow_id, workflow_type=kind
    )
    asyncio.run(environment.run(speak))
logging.getLogger("worker").info("Polling")
logging.getLogger("audit").info("It differs", extra={{"trip_id": "john-doe-2"}})
logging.getLogger("worker").debug("A detail")
logging.getLogger("alembic.runtime").info("A check of the schema")
"""

ODD = f"""
import logging, threading, warnings
{SET_UP}
logger = logging.getLogger("odd")
logger.info("two\\nlines, a \\x1b[31mcolour, a \\u2028 separator, half a \\ud83d letter")
logger.info("%d rooms", "many")
logger.info({{"not": float("nan")}}, extra={{"detail": object()}})
try:
    raise LookupError("first\\nsecond")
except LookupError:
    logger.exception("Failed")
logger.info("Where", stack_info=True)
warnings.warn("Old")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise SystemError("the\\nend")
"""
"""Whatever a library, a supplier or a mistake of ours may come to log."""

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"
"""https://www.rfc-editor.org/rfc/rfc3339#section-5.6"""

FAILED = "Failed: RuntimeError: The hotel is down"

EVENTS = [
    *(
        event
        for trip in ("john-doe-1", "john-doe-1", "-")
        for event in (
            ("INFO", "temporalio.activity", trip, "Booking a car"),
            ("WARNING", "suppliers", trip, "A supplier's own line"),
            ("WARNING", "temporalio.activity", trip, FAILED),
        )
    ),
    ("INFO", "worker", "-", "Polling"),
    ("INFO", "audit", "john-doe-2", "It differs"),
]


def spoken(script: str = SCRIPT, ends_with: int = 0, **environment: str) -> list[str]:
    """Return the lines on standard error of a process that logs."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (ends_with, "")
    # Not `splitlines`, which takes more for the end of a line than a terminal does.
    return done.stderr.removesuffix("\n").split("\n")


def test_each_event_is_one_line_of_text_that_tells_the_trip() -> None:
    lines = spoken(TZ="Asia/Kolkata")
    assert len(lines) == len(EVENTS)
    for line, (level, name, trip, message) in zip(lines, EVENTS, strict=True):
        told = re.escape(f" {level} {name} {trip} - {message}")
        assert re.fullmatch(TIME + told, line)
        assert "+05:30 " in line


def test_each_event_is_one_json_object_that_tells_the_trip() -> None:
    events = [json.loads(line) for line in spoken(LOG_FORMAT="json")]
    fields = ("level", "logger", "trip_id", "message")
    assert [tuple(event[field] for field in fields) for event in events] == EVENTS
    for event in events:
        assert re.fullmatch(TIME, event["time"])
        assert event["trace_id"] == "-"


def test_nothing_below_the_level_is_logged() -> None:
    lines = spoken(LOG_LEVEL="WARNING")
    assert len(lines) == 6
    assert all(" WARNING " in line for line in lines)


def test_whatever_is_logged_each_event_is_one_line_of_text() -> None:
    odd, args, extra, failed, where, warning, thread, end = spoken(ODD, ends_with=1)
    assert odd.endswith(r"two\nlines, a \x1b[31mcolour, a \u2028 separator, half a \ud83d letter")
    assert args.endswith("%d rooms (its arguments do not fit)")
    assert extra.endswith("{'not': nan}")
    assert r"Failed\nTraceback (most recent call last):\n  File " in failed
    assert failed.endswith(r"LookupError: first\nsecond")
    assert r"Where\nStack (most recent call last):\n" in where
    assert "UserWarning: Old" in warning
    assert "ZeroDivisionError" in thread
    assert " CRITICAL " in end
    assert end.endswith(r"SystemError: the\nend")
    assert all(re.match(TIME, line) for line in (odd, args, extra, failed, where, warning, thread))


@pytest.mark.slow
@pytest.mark.parametrize("metrics_port", [None, free_port()], ids=["unmeasured", "measured"])
def test_the_core_of_the_sdk_logs_as_all_others(metrics_port: int | None) -> None:
    settings: dict[str, Any] = {"LOG_FORMAT": "json"}
    if metrics_port is not None:
        settings["METRICS_PORT"] = metrics_port
    with service(**settings) as cut_off:
        cut_off.start()
        cut_off.temporal.kill()
        worker = cut_off.workers[0]
        worker.wait_for_output("gRPC call poll_workflow_task_queue retried")
        assert worker.stop() == 0
        events = [json.loads(line) for line in worker.output.splitlines()]
    assert {event["logger"] for event in events} >= {"worker", "temporalio.core"}


def test_whatever_is_logged_each_line_is_json() -> None:
    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    lines = spoken(ODD, ends_with=1, LOG_FORMAT="json")
    events = [json.loads(line, parse_constant=refuse) for line in lines]
    assert len(events) == 8
    assert events[0]["message"].startswith("two\nlines, a \x1b[31mcolour")
    assert events[3]["exception"].startswith("Traceback (most recent call last):\n  File ")
    assert events[3]["message"] == "Failed"
    assert events[7]["exception"].endswith("SystemError: the\nend")
