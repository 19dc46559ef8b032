"""Nobody can tell another caller's trip from one that does not exist: not by any byte of an answer,
and not by what the record is asked. The times are in `make bench BENCH=o`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from connection import lazy_client
from record import Record
from settings import Settings
from starter import create_app
from tests.api.api_client import JOHN, Api
from tests.bookings.requests import leave, new_trip
from tests.record.trips import trip_in

OWNER, OTHER = "secret-of-the-shop-1", "secret-of-another-1"
KEYS = f"shop:{OWNER},other:{OTHER}"

OTHERS, NOBODYS = "order-1001", "order-1002"

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")

SENT: list[dict[str, Any]] = [
    {},
    {"headers": {"Accept": "text/html"}},
    {"headers": {"Accept": "application/json"}, "query_string": {"wait": "1"}},
    {"json": {"note": "It is settled"}},
    {"data": {"note": "It is settled"}, "headers": {"Accept": "text/html"}},
    {"query_string": {"seen": "0123456789abcdef", "wait": "no number"}},
]
"""What may be sent with any of the methods."""


@pytest.fixture
async def app(own_database: str) -> Flask:
    """The API over a record of its own, without Temporal."""
    away = await lazy_client({"target_host": "localhost:1"})
    app = create_app(away, Settings(api_keys=KEYS))
    await app.extensions["record"].database.prepare()
    return app


@contextmanager
def asked_of(app: Flask) -> Iterator[list[str]]:
    """Note what is asked of the record of an app."""
    statements: list[str] = []
    engine = app.extensions["record"].database._engine

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    yield statements
    sa.event.remove(engine, "before_cursor_execute", note)


def paths(app: Flask) -> list[str]:
    """Return every path of the service that has a trip's id in it."""
    return [
        rule.rule.replace("<user_id>", "{}").replace("<kind>", kind)
        for rule in app.url_map.iter_rules()
        if "user_id" in rule.arguments
        for kind in ("hotel", "boat")
    ]


@pytest.mark.parametrize("status", ["running", "booked", "rolled_back"])
async def test_an_id_of_another_is_answered_as_one_that_is_nobodys(
    app: Flask, record: Record, status: str
) -> None:
    await record.trips.accept(new_trip(OTHERS))
    await leave(record, OTHERS, status)
    before = await trip_in(record, OTHERS)
    api = Api(app.test_client())
    found = paths(app)
    assert len(found) >= 8
    seen = set()
    with asked_of(app) as statements:

        async def answer(method: str, path: str, sent: dict[str, Any], user_id: str) -> object:
            headers = {"Authorization": f"Bearer {OTHER}"} | sent.get("headers", {})
            statements.clear()
            told = await api.call(method, path.format(user_id), **sent | {"headers": headers})
            seen.add(told.status_code)
            shown = repr((told.status, sorted(told.headers.items()), told.data))
            return shown.replace(user_id, "…"), list(statements)

        for path in found:
            for method in METHODS:
                for sent in SENT:
                    both = [await answer(method, path, sent, each) for each in (OTHERS, NOBODYS)]
                    assert both[0] == both[1], (method, path, sent)
    assert seen == {200, 400, 403, 404, 405, 415}
    assert await trip_in(record, OTHERS) == before


async def test_a_key_of_another_is_answered_as_one_that_is_nobodys(
    app: Flask, record: Record
) -> None:
    await record.trips.accept(new_trip("a-trip"), OTHERS)
    api = Api(app.test_client())

    async def answer(key: str) -> str:
        told = await api.book(JOHN, Authorization=f"Bearer {OTHER}", Idempotency_Key=key)
        shown = repr((told.status, sorted(told.headers.items()), told.data))
        return re.sub(r"john-doe-\d{29}", "…", shown).replace(key, "…")

    assert await answer(OTHERS) == await answer(NOBODYS)
