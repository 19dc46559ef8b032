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
from pathlib import Path

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import OperationalError

logger = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).with_name("migrations")

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

    Raises `SchemaOutdated` when it is an older one.
    """
    with engine.begin() as connection:
        return _is_current(connection)


def prepare(engine: sa.Engine) -> None:
    """Give a brand-new database its schema. Raises `SchemaOutdated` when it has an older one."""
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
        _lock(connection)
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_LIMIT}s'"))
        with contextlib.suppress(SchemaOutdated):
            if _is_current(connection):
                return
        _run_migrations(connection)


def _run_migrations(connection: sa.Connection) -> None:
    with _ONE_AT_A_TIME:
        command.upgrade(_config(connection), "head")


def _is_current(connection: sa.Connection) -> bool:
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None:
        return False
    if revision in _older_revisions(MIGRATIONS):
        raise SchemaOutdated
    return True


@functools.cache
def _older_revisions(migrations: Path) -> set[str]:
    """Return the revisions before the one that this version needs."""
    scripts = ScriptDirectory(str(migrations))
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
