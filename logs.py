"""How the processes log: one event a line on standard error, as text or as JSON.

Every line that concerns a trip carries the trip's id.
"""

import logging

from pythonjsonlogger.json import JsonFormatter
from temporalio import activity, workflow

from settings import Settings

FIELDS = "%(asctime)s %(levelname)s %(name)s %(trip)s %(message)s"


def configure_logging(settings: Settings) -> None:
    """Send all logs to standard error in the format that `LOG_FORMAT` names."""
    handler = logging.StreamHandler()
    handler.addFilter(_with_trip)
    as_json = settings.log_format == "json"
    handler.setFormatter(JsonFormatter(FIELDS) if as_json else logging.Formatter(FIELDS))
    logging.basicConfig(level=settings.log_level, handlers=[handler])
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
