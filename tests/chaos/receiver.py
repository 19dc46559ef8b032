"""A receiver of webhooks in chaos: it fails half of the calls, and verifies what it takes."""

import base64
import random
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import sqlalchemy as sa
from standardwebhooks import Webhook, WebhookVerificationError

from record.tables import events, trips

SECRET = f"whsec_{base64.b64encode(b'chaos' * 8).decode()}"

FAILURES = (500, 503, 302, 404, None)
"""How a call fails; `None`: the line is cut."""


@dataclass
class Receiver:
    """What was received, and how the next call fails."""

    chance: random.Random
    broken: bool = True
    """Whether half of the calls fail."""
    calls: int = 0
    failed: int = 0
    taken: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each event said that was taken, by its id."""
    wrong: list[str] = field(default_factory=list)
    """What was wrong with calls, in words."""

    def take(self, headers: Mapping[str, str], body: bytes) -> int | None:
        """Take a call; return the status of the answer, `None` to cut the line."""
        self.calls += 1
        try:
            told = Webhook(SECRET).verify(body, dict(headers))
        except WebhookVerificationError as error:
            self.wrong.append(f"{headers.get('webhook-id')} is not verified: {error}")
            return 401
        if self.broken and self.chance.random() < 0.5:
            self.failed += 1
            return self.chance.choice(FAILURES)
        earlier = self.taken.setdefault(headers["webhook-id"], told)
        if earlier != told:
            self.wrong.append(f"{headers['webhook-id']} says {told}, and has said {earlier}")
        return 204


@contextmanager
def receiving(chance: random.Random) -> Iterator[tuple[Receiver, dict[str, object]]]:
    """Receive in a thread. Yield the receiver, and the settings that lead to it."""
    receiver, lock = Receiver(chance), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                status = receiver.take({k.lower(): v for k, v in self.headers.items()}, body)
            if status is not None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/events"
        try:
            yield receiver, {"WEBHOOK_URL": url, "WEBHOOK_SECRET": SECRET}
        finally:
            server.shutdown()
            thread.join()


def waiting(database_url: str) -> list[tuple[str, int | None]]:
    """Return the ids of the events that are not delivered, and their positions."""
    rows = _rows(database_url)
    return [(row.event_id, row.position) for row in rows if row.delivery != "delivered"]


def compare(database_url: str, receiver: Receiver) -> Iterator[tuple[str, str]]:
    """Yield what is wrong: of which event or trip, and what."""
    for about in receiver.wrong:
        yield "a call of the webhook", about
    rows = _rows(database_url)
    told: dict[str, list[str]] = defaultdict(list)
    for number, row in enumerate(rows, start=1):
        if row.position != number:
            yield row.event_id, f"has the position {row.position}, and is number {number}"
        of_trip = told[row.trip_id]
        of_trip.append(row.status)
        if row.sequence != len(of_trip):
            yield row.event_id, f"is number {row.sequence} of its trip, after {of_trip}"
        data = {"user_id": row.trip_id, "status": row.status, "sequence": row.sequence}
        taken = receiver.taken.get(row.event_id)
        if taken is None or taken["type"] != f"trip.{row.status}" or taken["data"] != data:
            yield row.event_id, f"tells {data}; what was received is {taken}"
    for trip in _all(database_url, sa.select(trips.c.trip_id, trips.c.status)):
        if told[trip.trip_id][-1:] != [trip.status]:
            yield trip.trip_id, f"is {trip.status}; others were told {told[trip.trip_id]}"
    for event_id in receiver.taken.keys() - {row.event_id for row in rows}:
        yield event_id, "was received, and the record has no such event"


def _rows(database_url: str) -> list[sa.Row[Any]]:
    return _all(database_url, sa.select(events).order_by(events.c.position))


def _all(database_url: str, statement: sa.Select[Any]) -> list[sa.Row[Any]]:
    engine = sa.create_engine(database_url)
    try:
        with engine.connect() as connection:
            return list(connection.execute(statement))
    finally:
        engine.dispose()
