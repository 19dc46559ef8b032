"""The schema of the record: which one this version needs, and how a database gets it.

The first process that uses a brand-new database gives it its schema. A later schema is a step of
its own, `make migrate`. The version before must go on working with each schema: expand, migrate,
contract (`docs/operations.md`).
"""

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError

from record.errors import RecordMisconfigured
from record.tables import metadata, reservations

logger = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).with_name("migrations")

VERSION_TABLE = "trip_booking_version"
"""Where the database notes its revision. It may hold other applications, with Alembic's table."""

FORMER_VERSION_TABLE = "alembic_version"
"""Where versions before 3.1 noted it. The row stays there, so that they go on working."""

ENCODING = "UTF8"
"""What a database in PostgreSQL must be encoded in. No other encoding stores every text."""

SETTINGS = {"datestyle": "ISO", "timezone": "UTC", "extra_float_digits": "3"}
"""How PostgreSQL is to write values. A database, a role or a cluster may have settings that psycopg
cannot read."""

UNLIMITED = """
SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN
('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout', 'lock_timeout')
"""
"""Lifts the limits of a transaction that the server knows; before 17 it lacks the second one."""

RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")
"""What the record's role must be allowed to do with each table in PostgreSQL."""

MIGRATION_LOCK = 0x7472_6970
"""The key of the PostgreSQL advisory lock that lets in one migrator at a time ("trip" in ASCII)."""

LOCK_LIMIT = 2
"""Seconds that a migration waits in PostgreSQL for a table. All other requests wait behind it."""

LOCK_PAUSE = 2.0
"""Seconds before it tries again."""


_ONE_AT_A_TIME = threading.Lock()
"""A process has one `op` and one `context` of Alembic, with which a migration works."""


class SchemaOutdated(Exception):
    """The database has an older schema than this version needs."""

    def __init__(self) -> None:
        super().__init__("The record's schema is older than this version: run `make migrate`")


def is_current(engine: sa.Engine) -> bool:
    """Tell whether the schema is the needed one or a newer one. This version works on both.

    Raises `SchemaOutdated` when it is an older one, and `RecordMisconfigured`.
    """
    with engine.begin() as connection:
        return _is_current(connection)


def prepare(engine: sa.Engine) -> None:
    """Give a brand-new database its schema. Raises as `is_current` does."""
    with engine.begin() as connection:
        _lock(connection)
        if not _is_current(connection):
            _run_migrations(connection)


def upgrade(engine: sa.Engine) -> None:
    """Bring the schema up to date, in one transaction. A newer one stays as it is.

    Every process goes on meanwhile. So a change of a table in use does not wait long in the queue,
    where all other requests would wait behind it. It begins again a little later.
    """
    while True:
        try:
            return _upgrade(engine)
        except OperationalError as error:
            if not isinstance(error.orig, psycopg.errors.LockNotAvailable):
                raise
        logger.warning("Waiting: another transaction has locked a table that changes")
        time.sleep(LOCK_PAUSE)


def _upgrade(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text(UNLIMITED))
            for name, value in SETTINGS.items():
                connection.execute(sa.text(f"SET LOCAL {name} = '{value}'"))
        _lock(connection)
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_LIMIT}s'"))
        _take_over(connection)
        with contextlib.suppress(SchemaOutdated):
            if _is_current(connection):
                return
        _run_migrations(connection)


def _run_migrations(connection: sa.Connection) -> None:
    if _revision(connection) is None and (others := _tables(connection)):
        raise RecordMisconfigured(f"The database has other tables with the names {_list(others)}")
    # Pgpool-II knows no named cursor, with which one of the migrations would read.
    connection.dialect.supports_server_side_cursors = False
    with _ONE_AT_A_TIME:
        command.upgrade(_config(connection), "head")


def _is_current(connection: sa.Connection) -> bool:
    if connection.dialect.name == "postgresql":
        encoding = connection.scalar(sa.text("SHOW server_encoding"))
        if encoding != ENCODING:
            raise RecordMisconfigured(f"The database is encoded in {encoding}, not in {ENCODING}")
    revision = _revision(connection)
    if revision is None:
        return False
    if revision in _older_revisions(MIGRATIONS):
        raise SchemaOutdated
    if missing := metadata.tables.keys() - _tables(connection):
        raise RecordMisconfigured(f"The database has lost the tables {_list(missing)}")
    if connection.dialect.name == "postgresql" and (lacking := _lacking_rights(connection)):
        raise RecordMisconfigured(f"The record's role in the database lacks {_list(lacking)}")
    return True


def _lacking_rights(connection: sa.Connection) -> set[str]:
    rights = [(table, right) for table in metadata.tables for right in RIGHTS]
    has = connection.execute(sa.select(*(sa.func.has_table_privilege(*each) for each in rights)))
    answers = zip(rights, has.one(), strict=True)
    return {f"{right} on {table}" for (table, right), is_there in answers if not is_there}


def _tables(connection: sa.Connection) -> set[str]:
    """Return the names of the record's tables that are there."""
    inspector = sa.inspect(connection)
    return {name for name in metadata.tables if inspector.has_table(name)}


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _revision(connection: sa.Connection) -> str | None:
    """Return the revision of the schema; `None`: it is not there."""
    return next(iter(_noted(connection, VERSION_TABLE)), None) or _former_revision(connection)


def _former_revision(connection: sa.Connection) -> str | None:
    """Return the revision that a version before 3.1 noted, if its table is there, too."""
    inspector = sa.inspect(connection)
    if not inspector.has_table(reservations.name):
        return None
    columns = {column["name"] for column in inspector.get_columns(reservations.name)}
    if not {column.name for column in reservations.primary_key} <= columns:
        return None
    # Other applications may have several.
    noted = _noted(connection, FORMER_VERSION_TABLE)
    known = _older_revisions(MIGRATIONS) | {_scripts(MIGRATIONS).get_current_head()}
    return next((revision for revision in noted if revision in known), None)


def _take_over(connection: sa.Connection) -> None:
    """Note the revision that a version before 3.1 noted in the record's own table."""
    if not _noted(connection, VERSION_TABLE) and (former := _former_revision(connection)):
        versions = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        versions.stamp(_scripts(MIGRATIONS), former)


def _noted(connection: sa.Connection, table: str) -> Sequence[str]:
    """Return the revisions in Alembic's table of that name, if it is there."""
    if not sa.inspect(connection).has_table(table):
        return []
    return connection.scalars(
        sa.select(sa.column("version_num")).select_from(sa.table(table))
    ).all()


@functools.cache
def _scripts(migrations: Path) -> ScriptDirectory:
    return ScriptDirectory(str(migrations))


@functools.cache
def _older_revisions(migrations: Path) -> set[str]:
    """Return the revisions before the one that this version needs."""
    scripts = _scripts(migrations)
    return {script.revision for script in scripts.walk_revisions()} - {scripts.get_current_head()}


def _lock(connection: sa.Connection) -> None:
    """Keep other migrators out. SQLite's BEGIN IMMEDIATE has done so already."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))


def _config(connection: sa.Connection) -> Config:
    config = Config()
    # Alembic interpolates `%` in its options.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
