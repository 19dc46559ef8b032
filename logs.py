"""How the processes log: one event a line on standard error, as text or as JSON."""

import logging

from pythonjsonlogger.json import JsonFormatter

from settings import Settings

TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
JSON_FIELDS = "%(asctime)s %(levelname)s %(name)s %(message)s"


def configure_logging(settings: Settings) -> None:
    """Send all logs to standard error in the format that `LOG_FORMAT` names.

    As JSON, the trip and the activity stand in fields of their own, which Temporal's loggers add.
    """
    handler = logging.StreamHandler()
    if settings.log_format == "json":
        handler.setFormatter(JsonFormatter(JSON_FIELDS))
    else:
        handler.setFormatter(logging.Formatter(TEXT_FORMAT))
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    # Alembic announces each start-up check of the schema; the worker's own line is enough.
    logging.getLogger("alembic").setLevel(logging.WARNING)
