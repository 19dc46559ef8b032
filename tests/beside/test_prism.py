"""Prism, as a proxy between clients and service, finds nothing that the document does not allow."""

import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.processes import FAST_TIMERS, Process, bare_environment, free_port, service

PRISM = Path(sys.prefix, "node/node_modules/.bin/prism")
TRIP = {"name": " Ada", "attempts": 3, "car": "a car", "hotel": "a hotel", "flight": "a flight"}
VIOLATIONS = "sl-violations"
"""The header by which Prism tells what it found, in requests and in answers."""


@pytest.mark.slow
@pytest.mark.skipif(not PRISM.exists(), reason="Prism is missing: make .venv/.node installs it")
def test_prism_finds_nothing_in_what_clients_send_and_the_service_answers(tmp_path: Path) -> None:
    with service("sqlite", FAST_TIMERS, HOTEL_OUTAGE_ATTEMPTS=0, HOTEL_LATENCY_SECONDS=0.1) as real:
        real.start()
        url, port = f"http://127.0.0.1:{real.api_port}", free_port()
        command = [str(PRISM), "proxy", f"{url}/openapi.json", url, "--port", str(port)]
        prism = Process("prism", command, tmp_path / "prism.log", bare_environment())
        real.processes.append(prism)
        prism.start()
        prism.wait_for_output("Prism is listening")

        def ask(status: int, method: str, path: str, body: object = None, **headers: str) -> Any:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            answer = real.request(method, path, body, sent, port=port)
            assert (answer.status, answer.headers.get(VIOLATIONS)) == (status, None), path
            return answer.body

        booked = ask(200, "POST", "/book", TRIP, Idempotency_Key="lisbon-2027")
        assert ask(200, "POST", "/book", TRIP, Idempotency_Key='"lisbon-2027"') == booked
        assert ask(200, "POST", "/book", TRIP | {"hotel": "invalid"})["cancelled"]
        accepted = ask(202, "POST", "/book", TRIP | {"name": "Łukasz 王"}, Prefer="respond-async")
        ask(422, "POST", "/book", TRIP | {"car": "other"}, Idempotency_Key="lisbon-2027")

        assert ask(200, "GET", f"{accepted['location']}?wait=20")["status"] == "booked"
        ask(404, "GET", "/bookings/nobody")
        cursor = ask(200, "GET", "/bookings?limit=1&status=booked")["next_cursor"]
        ask(200, "GET", f"/bookings?{urlencode({'cursor': cursor})}")
        cancel = f"/bookings/{booked['user_id']}/cancel"
        assert ask(200, "POST", cancel)["status"] == "cancelled"
        note = {"note": "Cancelled by phone."}
        ask(409, "POST", f"/bookings/{booked['user_id']}/undo/car/resolve", note)
        ask(200, "GET", "/readyz")

        # Whoever imports the document sends its examples as they stand.
        document = real.request("GET", "/openapi.json").body
        book, page = document["paths"]["/book"]["post"], document["paths"]["/bookings"]["get"]
        body = book["requestBody"]["content"]["application/json"]["example"]
        headers = {each["name"]: each["example"] for each in book["parameters"]}
        assert ask(202, "POST", "/book", body, **headers)["user_id"]
        query = urlencode({each["name"]: each["example"] for each in page["parameters"]})
        assert ask(200, "GET", f"/bookings?{query}")["bookings"]

        # It is there and looks: what the document does not allow it names.
        named = real.request("POST", "/book", TRIP | {"name": " "}, port=port)
        assert named.status == 400
        assert "pattern" in named.headers[VIOLATIONS]
