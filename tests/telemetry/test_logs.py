"""How the processes log, in a process for each form: logging is set up once per process."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.processes import ROOT, service

SCRIPT = """
import asyncio, dataclasses, logging, sys, threading, warnings
from temporalio import activity
from temporalio.testing import ActivityEnvironment
from telemetry import configure_logging

configure_logging("INFO", sys.argv[1])

async def speak():
    activity.logger.info("Booking %s", "a car")
    logging.getLogger("suppliers").warning("A supplier's own line")
    try:
        raise RuntimeError("The hotel is down")
    except RuntimeError:
        activity.logger.warning("Failed", exc_info=True)

for workflow_id in ("john-doe-1", "cancellation:john-doe-1"):
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, workflow_id=workflow_id)
    asyncio.run(environment.run(speak))
logging.getLogger("worker").info("Polling")
logging.getLogger("audit").info("It differs", extra={"trip_id": "john-doe-2"})
logging.getLogger("worker").debug("A detail")
logging.getLogger("alembic.runtime").info("A check of the schema")

# Whatever a library, a supplier or a mistake of ours may come to log.
logger = logging.getLogger("odd")
logger.info("two\\nlines, a \\x1b[31mcolour, a \\u2028 separator, a \\u202e turn, half a \\ud83d")
logger.info("%d rooms", "many")
logger.info({"not": float("nan")}, extra={"detail": object()})
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

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+05:30"
"""https://www.rfc-editor.org/rfc/rfc3339#section-5.6"""

EVENTS = [
    *(
        ("INFO", "temporalio.activity", "john-doe-1", "Booking a car"),
        ("WARNING", "suppliers", "john-doe-1", "A supplier's own line"),
        ("WARNING", "temporalio.activity", "john-doe-1", "Failed: RuntimeError: The hotel is down"),
    )
    * 2,
    ("INFO", "worker", "-", "Polling"),
    ("INFO", "audit", "john-doe-2", "It differs"),
]


def spoken(form: str) -> list[str]:
    """Return the lines on standard error of a process that logs."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, form],
        cwd=ROOT,
        env={"TZ": "Asia/Kolkata"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    # Not `splitlines`, which takes more for the end of a line than a terminal does.
    return done.stderr.removesuffix("\n").split("\n")


def test_each_event_is_one_line_of_text_that_tells_the_trip() -> None:
    *lines, odd, args, extra, failed, where, warning, thread, end = spoken("text")
    for line, (level, name, trip, message) in zip(lines, EVENTS, strict=True):
        assert re.fullmatch(TIME + re.escape(f" {level} {name} {trip} - {message}"), line)
    assert odd.endswith(
        r"two\nlines, a \x1b[31mcolour, a \u2028 separator, a \u202e turn, half a \ud83d"
    )
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


def test_each_event_is_one_json_object_that_tells_the_trip() -> None:
    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    told = [json.loads(line, parse_constant=refuse) for line in spoken("json")]
    events, odd = told[: len(EVENTS)], told[len(EVENTS) :]
    fields = ("level", "logger", "trip_id", "message")
    assert [tuple(event[field] for field in fields) for event in events] == EVENTS
    assert all(re.fullmatch(TIME, event["time"]) and event["trace_id"] == "-" for event in told)
    assert len(odd) == 8
    assert odd[0]["message"].startswith("two\nlines, a \x1b[31mcolour")
    assert odd[3]["exception"].startswith("Traceback (most recent call last):\n  File ")
    assert odd[3]["message"] == "Failed"
    assert odd[7]["exception"].endswith("SystemError: the\nend")


@pytest.mark.slow
@pytest.mark.parametrize("measured", [False, True])
def test_the_core_of_the_sdk_logs_as_all_others(measured: bool, unused_tcp_port: int) -> None:
    settings: dict[str, Any] = {"METRICS_PORT": unused_tcp_port} if measured else {}
    with service(LOG_FORMAT="json", **settings) as cut_off:
        cut_off.start()
        cut_off.temporal.kill()
        worker = cut_off.workers[0]
        worker.wait_for_output("gRPC call poll_workflow_task_queue retried")
        assert worker.stop() == 0
        events = [json.loads(line) for line in worker.output.splitlines()]
    assert {event["logger"] for event in events} >= {"worker", "temporalio.core"}
