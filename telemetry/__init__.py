"""What the processes tell of themselves: their logs."""

from telemetry.logs import configure_logging

__all__ = ["configure_logging"]
