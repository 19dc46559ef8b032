"""The cookies of the codec server that were given back before their end."""

import datetime as dt

import sqlalchemy as sa

from record.database import Database, add_if_new, now_in, writes
from record.owners import fingerprint_of
from record.tables import withdrawn_cookies

KEPT = dt.timedelta(days=2)
"""No cookie is good for so long."""


class WithdrawnCookies:
    """Remembers them until they have ended by themselves. Each method raises `RecordError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @writes
    def add(self, sql: sa.Connection, cookie: str) -> None:
        """Remember a cookie. Adding it again changes nothing."""
        now, table = now_in(sql), withdrawn_cookies
        sql.execute(sa.delete(table).where(table.c.withdrawn_at < now - KEPT))
        values = {"fingerprint": fingerprint_of(cookie), "withdrawn_at": now}
        add_if_new(sql, table, values)

    async def has(self, cookie: str) -> bool:
        """Tell whether a cookie was given back."""
        known = sa.exists().where(withdrawn_cookies.c.fingerprint == fingerprint_of(cookie))
        return await self._database.read(lambda sql: bool(sql.scalar(sa.select(known))))
