"""How the processes log, each in a process of its own: logging is set up once per process."""

import json
import re
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import asyncio, dataclasses, logging
from temporalio import activity
from temporalio.testing import ActivityEnvironment
from telemetry import configure_logging
from settings import Settings

settings = Settings()
configure_logging(settings.log_level, settings.log_format)

async def speak():
    activity.logger.info("Booking %s", "a car")
    try:
        raise RuntimeError("The hotel is down")
    except RuntimeError:
        activity.logger.warning("Failed", exc_info=True)

environment = ActivityEnvironment()
environment.info = dataclasses.replace(environment.info, workflow_id="john-doe-1")
asyncio.run(environment.run(speak))
logging.getLogger("worker").info("Polling")
logging.getLogger("worker").debug("A detail")
logging.getLogger("alembic.runtime").info("A check of the schema")
"""


def spoken(**environment: str) -> list[str]:
    """Return the lines on standard error of a process that logs."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parent.parent.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_each_event_is_one_line_of_text_that_tells_the_trip() -> None:
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"
    expected = [
        rf"{time} INFO temporalio\.activity john-doe-1 Booking a car",
        rf"{time} WARNING temporalio\.activity john-doe-1 Failed: RuntimeError: The hotel is down",
        rf"{time} INFO worker - Polling",
    ]
    lines = spoken()
    assert len(lines) == len(expected)
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line)


def test_each_event_is_one_json_object_that_tells_the_trip() -> None:
    events = [json.loads(line) for line in spoken(LOG_FORMAT="json")]
    fields = ("levelname", "name", "trip", "message")
    assert [tuple(event[field] for field in fields) for event in events] == [
        ("INFO", "temporalio.activity", "john-doe-1", "Booking a car"),
        ("WARNING", "temporalio.activity", "john-doe-1", "Failed: RuntimeError: The hotel is down"),
        ("INFO", "worker", "-", "Polling"),
    ]


def test_nothing_below_the_level_is_logged() -> None:
    (line,) = spoken(LOG_LEVEL="WARNING")
    assert "The hotel is down" in line
