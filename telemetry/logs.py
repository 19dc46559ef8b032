"""How the processes log: one event a line on standard error, as text or as JSON.

Every line that concerns a trip carries the trip's id.
"""

import logging
from typing import Literal

from pythonjsonlogger.json import JsonFormatter
from temporalio import activity, workflow

FIELDS = "%(asctime)s %(levelname)s %(name)s %(trip)s %(message)s"


def configure_logging(level: str, log_format: Literal["text", "json"]) -> None:
    """Send all logs of `level` and above to standard error, as text or as JSON."""
    handler = logging.StreamHandler()
    handler.addFilter(_with_trip)
    as_json = log_format == "json"
    handler.setFormatter(JsonFormatter(FIELDS) if as_json else logging.Formatter(FIELDS))
    logging.basicConfig(level=level, handlers=[handler])
    # The trip's id stands for the dozen details that the SDK would add to each message.
    activity.logger.activity_info_on_message = False
    workflow.logger.workflow_info_on_message = False
    # Alembic announces each start-up check of the schema; the worker's own line is enough.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _with_trip(record: logging.LogRecord) -> bool:
    details = getattr(record, "temporal_activity", None) or getattr(record, "temporal_workflow", {})
    record.trip = details.get("workflow_id", "-")
    if record.name == "temporalio.activity" and record.exc_info:
        # A failed try is an event, not a bug; its traceback stands in the workflow's history.
        error = record.exc_info[1]
        message = record.getMessage()
        while error is not None:
            message += f": {type(error).__name__}: {' '.join(str(error).split())}"
            error = error.__cause__
        record.msg, record.args, record.exc_info = message, None, None
    return True
