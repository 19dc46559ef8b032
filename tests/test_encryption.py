"""With `PAYLOAD_KEYS` Temporal learns no name and no item: real processes, and the server's files.

Keys change, are missing and come back, and no trip is lost by it.
"""

import asyncio
import base64
import json
import re
from typing import Any

import pytest
from flask import Flask, Response, request
from temporalio.client import Client

from shared import KINDS
from tests.api.serving import serving
from tests.encrypting import seen, setting
from tests.processes import FAST_TIMERS, Service, service, supplier_urls, wait_until

pytestmark = pytest.mark.slow

NAME = "Zephyrine Quillfeather"
NOTE = "Recompensated"
ITEMS = {"car": "Velocipedion", "hotel": "Caravanserail", "flight": "Ornithopteron"}
FAILED = "The hotel supplier failed"
"""What is told of a try that fails without words of its supplier for travellers."""
WORDS = {*NAME.split(), NOTE, *ITEMS.values(), FAILED}

SERVER_LOG = ("--log-level", "info")
"""By default the tests' server tells less than what it would tell of somebody's trips."""


class Talkative:
    """Suppliers that repeat in each answer what they were asked for."""

    def __init__(self) -> None:
        self.tried: set[str] = set()
        self.pending: dict[str, str] = {}
        self.decided = False
        self.keep_cars = False
        self.app = Flask("talkative")
        self.app.add_url_rule("/<path:_>", view_func=self.answer, methods=["PUT", "GET", "DELETE"])

    def answer(self, _: str) -> Response:
        match request.method:
            case "PUT":
                return self.put(request.path, request.get_json()["item"])
            case "DELETE" if "cars" in request.path and self.keep_cars:
                return self.says(409, detail=f"{ITEMS['car']} is not given back")
            case "DELETE":
                return Response(status=204)
        if request.path not in self.pending:
            return self.says(404, detail="Nothing is held")
        state = "confirmed" if self.decided else "pending"
        return self.says(200, state=state, item=self.pending[request.path], reference="R")

    def put(self, path: str, item: str) -> Response:
        first = path not in self.tried
        self.tried.add(path)
        if "busy" in item and first:
            return self.says(503, detail=f"{item} is busy")
        if "sold-out" in item:
            return self.says(422, detail=f"{item} is sold out")
        if "pending" in item:
            self.pending[path] = item
            return self.says(202, state="pending")
        return self.says(201, state="confirmed", item=item, reference=f"R-{item}")

    def says(self, status: int, **told: str) -> Response:
        kind = "application/problem+json" if "detail" in told else "application/json"
        headers = {"Content-Type": kind, "Retry-After": "1"}
        return Response(json.dumps(told), status, headers)


def book(running: Service, wait: bool = True, **words: Any) -> dict[str, Any]:
    """Book a trip of the rare name and items, a word before the item of a kind as told."""
    items = {str(kind): f"{words.get(kind, 'valid')} {ITEMS[kind]}" for kind in KINDS}
    headers = {} if wait else {"Prefer": "respond-async"}
    trip: dict[str, Any] = {"name": NAME, "attempts": 3, **items}
    return dict(running.request("POST", "/book", trip, headers).body)


def looked_up(running: Service, user_id: str, wait: int = 0) -> dict[str, Any]:
    return dict(running.request("GET", f"/bookings/{user_id}?wait={wait}").body)


def until_step(running: Service, user_id: str, kind: str, **wanted: object) -> dict[str, Any]:
    """Look up until the step of a kind has these members, and return it."""
    found: dict[str, Any] = {}

    def has_them() -> bool:
        nonlocal found
        steps = looked_up(running, user_id).get("steps", [])
        found = next((step for step in steps if step["kind"] == kind), {})
        return found.items() >= wanted.items()

    wait_until(has_them, f"the {kind} is {wanted}")
    return found


def live_through_everything(running: Service, suppliers: Talkative) -> None:
    """Have trips that end in every way, and see that the API shows each as it is."""
    car, hotel, flight = ITEMS.values()
    booked = book(running, hotel="busy")
    assert booked["hotel"] == f"Hotel: busy {hotel}"
    told = looked_up(running, booked["user_id"])
    assert told["steps"][1]["last_error"] == FAILED

    rolled_back = book(running, flight="sold-out")
    assert rolled_back["reason"] == f"sold-out {flight} is sold out"

    cancelled = book(running, wait=False, flight="pending")["user_id"]
    until_step(running, cancelled, "hotel", state="booked", reference=f"R-valid {hotel}")
    assert looked_up(running, cancelled)["status"] == "running"
    running.request("POST", f"/bookings/{cancelled}/cancel")
    assert looked_up(running, cancelled, wait=30)["status"] == "cancelled"

    suppliers.keep_cars = True
    stuck = book(running, wait=False, flight="sold-out")["user_id"]
    step = until_step(running, stuck, "car", state="stuck")
    assert step["last_error"] == f"{car} is not given back"
    running.request("POST", f"/bookings/{stuck}/undo/car/resolve", {"note": NOTE})
    assert looked_up(running, stuck, wait=30)["status"] == "rolled_back"
    suppliers.keep_cars = False

    after = running.request("POST", f"/bookings/{booked['user_id']}/cancel").body
    assert after["status"] == "cancelled"
    listed = running.request("GET", "/bookings").body["bookings"]
    assert {trip["name"] for trip in listed} == {NAME}


@pytest.mark.parametrize(
    ("keys", "found"), [(setting("new"), set()), ("", WORDS)], ids=["encrypted", "in clear"]
)
def test_temporal_learns_no_name_and_no_item(keys: str, found: set[str]) -> None:
    """Without encryption they are found: the search sees them."""
    suppliers = Talkative()
    with (
        serving(suppliers.app) as port,
        service(
            "sqlite",
            (*FAST_TIMERS, *SERVER_LOG),
            PAYLOAD_KEYS=keys,
            RETRY_INTERVAL_SECONDS=0.1,
            UNDO_ATTEMPTS=2,
            AUDIT_INTERVAL_SECONDS=1,
            **supplier_urls(port),
        ) as running,
    ):
        running.start()
        live_through_everything(running, suppliers)
        running.workers[0].stop()
        running.temporal.stop()
        files = [*running.temporal.log.parent.glob("temporal.db*"), running.temporal.log]
        assert sum(file.stat().st_size for file in files) > 100_000
        assert seen(WORDS, files) == found


async def keys_of(running: Service, user_id: str) -> set[str]:
    """Return the ids of the keys by which a trip's history is encrypted."""
    client = await Client.connect(running.temporal_address)
    history = (await client.get_workflow_handle(user_id).fetch_history()).to_json()
    told = re.findall(r'"encryption-key-id": ?"([^"]+)"', history)
    return {base64.b64decode(each).decode() for each in told}


def test_encryption_is_turned_on_and_its_keys_change_under_open_trips() -> None:
    """In each stage a worker of the one before is there still, as in a rollout."""
    stages = ["", setting("plain", "old"), setting("old"), setting("old", "new")]
    stages += [setting("new", "old")]
    begun: list[str] = []
    suppliers = Talkative()
    with (
        serving(suppliers.app) as port,
        service("sqlite", PAYLOAD_KEYS="", **supplier_urls(port)) as running,
    ):
        running.temporal.start()
        before = None
        for number, keys in enumerate(stages):
            worker = running.python(f"worker-of-{number}", "run_worker.py", PAYLOAD_KEYS=keys)
            worker.start()
            worker.wait_for_output("Polling task queue")
            if running.api.running:
                running.api.stop()
            running.api = running.python(f"api-{number}", "starter.py", PAYLOAD_KEYS=keys)
            running.api.start()
            running.wait_until_ready()
            begun.append(book(running, wait=False, hotel="pending")["user_id"])
            assert book(running)["cancelled"] is False
            until_step(running, begun[-1], "car", state="booked")
            if before is not None:
                assert before.stop() == 0
            assert {looked_up(running, each)["status"] for each in begun} == {"running"}
            before = worker
        suppliers.decided = True
        assert [looked_up(running, each, wait=30)["status"] for each in begun] == ["booked"] * 5
        used = [asyncio.run(keys_of(running, each)) for each in begun]
        # Those that began in clear, and the last one, may have ended without the old key.
        assert all("new" in each for each in used)
        assert used[2:4] == [{"old", "new"}] * 2
