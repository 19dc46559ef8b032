"""How the processes log: one event a line on standard error, as text or as JSON.

Every line has its time with the offset from UTC (RFC 3339), and the ids of the trip and of the
trace that it concerns, or `-`. Above DEBUG no line has a traveller's name, an item or a credential;
a trip's id may begin with the name's slug.
"""

import datetime as dt
import json
import logging
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Literal

from temporalio import activity, workflow
from temporalio.runtime import LogForwardingConfig, LoggingConfig, TelemetryFilter

from shared import cancelled_trip, one_line

NONE = "-"
"""Stands for the missing id of a line that concerns no trip, or no trace."""

SDK_LOGGING = LoggingConfig(
    TelemetryFilter(core_level="WARN", other_level="ERROR"),
    LogForwardingConfig(logging.getLogger("temporalio.core"), append_target_to_name=False),
)
"""Makes the core of Temporal's SDK, which is written in Rust, log in our form."""

logger = logging.getLogger(__name__)


def configure_logging(
    level: str,
    log_format: Literal["text", "json"],
    trip_at_hand: Callable[[], str | None] = lambda: None,
) -> None:
    """Send all logs of `level` and above to standard error, as text or as JSON.

    `trip_at_hand` returns the trip that a line outside of workflows and activities concerns.
    """
    handler = logging.StreamHandler()
    handler.addFilter(_InContext(trip_at_hand))
    handler.setFormatter(_LogLine(log_format))
    logging.basicConfig(level=level, handlers=[handler])
    # The ids stand for the dozen details that the SDK would add to each message.
    activity.logger.activity_info_on_message = False
    workflow.logger.workflow_info_on_message = False
    # Alembic announces each start-up check of the schema; the worker's own line is enough.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Python itself would write warnings and uncaught errors over several lines.
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda of: _log_uncaught(of.exc_type, of.exc_value, of.exc_traceback)


def trip_of(workflow_id: str | None) -> str | None:
    """Return the id of the trip that a workflow books or cancels."""
    return workflow_id and (cancelled_trip(workflow_id) or workflow_id)


class _InContext:
    """Gives each record the ids of what it concerns."""

    def __init__(self, trip_at_hand: Callable[[], str | None]) -> None:
        self._trip_at_hand = trip_at_hand

    def filter(self, record: logging.LogRecord) -> bool:
        """Complete the record; it is always logged."""
        record.trip_id = getattr(record, "trip_id", None) or self._trip_of(record) or NONE
        record.trace_id = getattr(record, "trace_id", NONE)
        if record.name == "temporalio.activity" and record.exc_info:
            # A failed try is an event, not a bug; its traceback stands in the workflow's history.
            error = record.exc_info[1]
            message = record.getMessage()
            while error is not None:
                message += f": {type(error).__name__}: {' '.join(str(error).split())}"
                error = error.__cause__
            record.msg, record.args, record.exc_info = message, None, None
        return True

    def _trip_of(self, record: logging.LogRecord) -> str | None:
        details = getattr(record, "temporal_activity", None)
        details = details or getattr(record, "temporal_workflow", None)
        if details is not None:
            return trip_of(details.get("workflow_id"))
        if activity.in_activity():
            return trip_of(activity.info().workflow_id)
        return self._trip_at_hand()


class _LogLine(logging.Formatter):
    """One line for each event, as text or as a JSON object."""

    def __init__(self, log_format: Literal["text", "json"]) -> None:
        super().__init__()
        self._as_json = log_format == "json"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. All values are strings, so that whatever is logged can be read."""
        time = dt.datetime.fromtimestamp(record.created).astimezone()
        event = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "trip_id": str(vars(record)["trip_id"]),
            "trace_id": vars(record)["trace_id"],
            "message": _message_of(record),
        }
        raised = self.formatException(record.exc_info) if record.exc_info else ""
        traceback = "\n".join(filter(None, [raised, record.stack_info]))
        if self._as_json:
            return json.dumps(event | ({"exception": traceback} if traceback else {}))
        line = " ".join(event.values())
        return one_line(f"{line}\n{traceback}" if traceback else line)


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return f"{record.msg} (its arguments do not fit)"


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None
) -> None:
    if issubclass(kind, (KeyboardInterrupt, SystemExit)) or error is None:
        return
    logger.critical("Nobody has caught an error", exc_info=(kind, error, traceback))
