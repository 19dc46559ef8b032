"""What the tests of the record do to its databases, past the record's own code."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from record import Record, schema
from record.database import _sqlite
from record.tables import reservations, trips

on_sqlite = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)

NEWER = '''
"""What a later version adds: expand only."""

import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{head}"


def upgrade() -> None:
    op.create_table("coupons", sa.Column("code", sa.Text, primary_key=True))
    op.add_column("trips", sa.Column("mood", sa.Text))
    op.add_column("trips", sa.Column("hops", sa.Integer, nullable=False, server_default="1"))
    op.add_column("reservations", sa.Column("seat", sa.Text))


def downgrade() -> None:
    raise NotImplementedError
'''


def url_of(record: Record) -> str:
    return record.database._engine.url.render_as_string(hide_password=False)


@contextmanager
def transaction(where: Record | str) -> Iterator[sa.Connection]:
    """Begin a transaction on a connection of the record, or on one of its own without limits."""
    if isinstance(where, Record):
        with where.database._engine.begin() as connection:
            yield connection
        return
    url = sa.make_url(where)
    engine = _sqlite(url) if url.get_backend_name() == "sqlite" else sa.create_engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def execute(where: Record | str, *statements: str | sa.Executable) -> None:
    """Execute statements in a transaction of their own."""
    with transaction(where) as connection:
        for statement in statements:
            connection.execute(sa.text(statement) if isinstance(statement, str) else statement)


def rows(where: Record | str, table: sa.FromClause) -> list[tuple[Any, ...]]:
    """Return every row of a table."""
    with transaction(where) as connection:
        return [tuple(row) for row in connection.execute(sa.select(table))]


@contextmanager
def unchanged(record: Record) -> Iterator[None]:
    """Check that nothing changes in the record."""
    before = [rows(record, table) for table in (trips, reservations)]
    yield
    assert [rows(record, table) for table in (trips, reservations)] == before


def at(database_url: str, revision: str) -> None:
    """Bring a brand-new database to an earlier schema, noted where versions before 3.1 did."""
    with transaction(database_url) as connection:
        command.upgrade(schema._config(connection), revision)
        own, former = schema.VERSION_TABLE, schema.FORMER_VERSION_TABLE
        connection.execute(sa.text(f"CREATE TABLE {former} AS SELECT version_num FROM {own}"))
        connection.execute(sa.text(f"DROP TABLE {own}"))


def back_to(database_url: str, revision: str) -> None:
    with transaction(database_url) as connection:
        command.downgrade(schema._config(connection), revision)


def revision_of(database_url: str) -> str:
    with transaction(database_url) as connection:
        return str(schema._revision(connection))


def head() -> str:
    return str(ScriptDirectory(str(schema.MIGRATIONS)).get_current_head())


def make_newer(database_url: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Migrate a database as the next version would."""
    with monkeypatch.context() as patch:
        copy = folder / "migrations"
        shutil.copytree(schema.MIGRATIONS, copy)
        (copy / "versions" / "next.py").write_text(NEWER.format(head=head()))
        patch.setattr(schema, "MIGRATIONS", copy)
        with transaction(database_url) as connection:
            command.upgrade(schema._config(connection), "head")


def disconnect_all(database: psycopg.Connection, which: LiteralString = "true") -> int:
    """Drop every other connection to the database and return how many there were."""
    found = database.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        f" WHERE datname = current_database() AND pid <> pg_backend_pid() AND {which}"
    )
    return found.rowcount


def others(database: psycopg.Connection) -> list[int]:
    """Return the server's processes of every other connection to the database."""
    found = database.execute(
        "SELECT pid FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return [pid for (pid,) in found]


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a file system of a megabyte in `folder`; skip the test where that is not allowed."""
    disk = folder / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=1m,mode=777", "tmpfs"]
    if subprocess.run(["mount", *options, disk], check=False, capture_output=True).returncode:
        pytest.skip("Only root may mount a small file system, and not everywhere")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
