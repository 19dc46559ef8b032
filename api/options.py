"""What the API is told when it is put together."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from api.keys import CallerKey


@dataclass(frozen=True)
class Options:
    """How the API behaves. `starter.py` makes it from the settings."""

    keys: Sequence[CallerKey]
    book_wait_seconds: float
    """How long `POST /book` waits for an outcome at the most before it answers 202."""
    max_open_bookings: int
    """How many requests may wait for a trip to end at once."""
    local_only: bool
    """Whether only this machine is to be served: requests under another host name are refused."""
    host_names: Collection[str]
    """The names under which a service without keys is asked, besides those of this machine."""
    temporal_ui_url: str
    namespace: str
    """Where links to the Web UI lead."""
    public_url: str | None = None
    """Where people reach the service, without a slash at its end; `None`: nobody has told."""
    decodes: bool = False
    """Whether there is a codec server, and so something to decode."""
    anonymous_ids: bool = False
    """Whether the ids of trips are to tell no traveller's name."""
