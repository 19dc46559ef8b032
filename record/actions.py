"""What callers have asked to have done to trips: who, when, and what.

A row is written before the action is begun, so that no action is without its caller's name. Only
one that is refused is taken back.
"""

import datetime as dt
import logging
import uuid
from dataclasses import dataclass, fields

import sqlalchemy as sa

from record.database import Database, add_if_new, now_in, writes
from record.tables import actions
from shared import ActionName, Kind

logger = logging.getLogger(__name__)

SHOWN = 100
"""How many actions of a trip are told, the latest."""


@dataclass(frozen=True)
class Action:
    """What a caller has asked to have done to a trip."""

    at: dt.datetime
    """By the database's clock."""
    caller: str
    action: ActionName
    kind: Kind | None = None
    """Whose undo was repaired."""
    note: str | None = None
    """How the caller says that it was settled."""


class Actions:
    """Writes down the actions of callers. Each method raises `RecordError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @writes
    def note_cancel(self, sql: sa.Connection, trip_id: str, caller: str) -> None:
        """Write that a running trip is to be cancelled, once for each caller."""
        add_action(sql, trip_id, caller, "cancel", action_id=f"{trip_id} {caller} cancel")

    @writes
    def note_confirm(self, sql: sa.Connection, trip_id: str, caller: str) -> str:
        """Write that a held trip is to be booked. Returns the id of the action."""
        return add_action(sql, trip_id, caller, "confirm")

    @writes
    def note_repair(
        self, sql: sa.Connection, trip_id: str, caller: str, kind: Kind, note: str | None
    ) -> str:
        """Write that an undo is to be tried again, or with a note that it is settled.

        Returns the id of the action.
        """
        return add_action(sql, trip_id, caller, "retry" if note is None else "resolve", kind, note)

    @writes
    def take_back(self, sql: sa.Connection, action_id: str) -> None:
        """Forget an action that was refused."""
        sql.execute(sa.delete(actions).where(actions.c.action_id == action_id))


def add_action(
    sql: sa.Connection,
    trip_id: str,
    caller: str,
    action: ActionName,
    kind: Kind | None = None,
    note: str | None = None,
    *,
    action_id: str | None = None,
) -> str:
    """Write and log an action, unless its `action_id` is there already. Returns its id."""
    action_id = action_id or uuid.uuid4().hex
    values = {
        "action_id": action_id,
        "trip_id": trip_id,
        "at": now_in(sql),
        "caller": caller,
        "action": action,
        "kind": kind,
        "note": note,
    }
    if add_if_new(sql, actions, values):
        what = f"{action} of the {kind}'s undo" if kind else action
        logger.info("Caller %s asks for: %s", caller, what, extra={"trip_id": trip_id})
    return action_id


def actions_of(sql: sa.Connection, trip_id: str) -> list[Action]:
    """Return the latest actions on a trip, the earliest of them first."""
    return [Action(**row._mapping) for row in sql.execute(_LATEST, {"of_trip": trip_id})][::-1]


_LATEST = (
    sa.select(*(actions.c[each.name] for each in fields(Action)))
    .where(actions.c.trip_id == sa.bindparam("of_trip"))
    .order_by(actions.c.at.desc(), actions.c.action_id)
    .limit(SHOWN)
)
