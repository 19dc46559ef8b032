"""A real Prometheus watches a real service: the right alerts fire, and no others."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared import KINDS
from tests.deploy.asking import PROMETHEUS, RULES
from tests.deploy.prometheus import (
    FASTER,
    Prometheus,
    needs_prometheus,
    shortened,
    watching,
)
from tests.processes import (
    DEADLINE,
    Process,
    Service,
    free_port,
    service,
    simulator,
    supplier_urls,
    wait_until,
)

QUIET_MINUTES = 12
"""Of the rules' time, in which whatever is wrong from their beginning on fires: each `for` is
shorter, but that of keys in conflict."""

SECRET = "prometheus-reads-this"
OPERATOR = {"Authorization": f"Bearer {SECRET}"}


@pytest.mark.parametrize(
    "file", [PROMETHEUS / "prometheus.yml", *RULES], ids=lambda file: file.name
)
def test_a_faster_configuration_differs_by_its_durations_only(file: Path) -> None:
    text = file.read_text()
    before, after = written(yaml.safe_load(text)), written(yaml.safe_load(shortened(text)))
    duration = re.compile(r"\b(\d+)(ms|s|m|h|d)\b")
    assert [duration.sub("", each) for each in before] == [duration.sub("", each) for each in after]
    milliseconds = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
    slow, fast = (
        [int(n) * milliseconds[unit] for each in values for n, unit in duration.findall(each)]
        for values in (before, after)
    )
    assert slow == [FASTER * each for each in fast] != []


def written(node: Any) -> list[str]:
    """Return everything that is written in a document, in its order, but what people read."""
    if isinstance(node, dict):
        return [
            each
            for key, value in node.items()
            if key != "annotations"
            for each in (str(key), *written(value))
        ]
    if isinstance(node, list):
        return [each for value in node for each in written(value)]
    return [str(node)]


@contextmanager
def watched_service(folder: Path) -> Iterator[tuple[Service, Process, Prometheus]]:
    """A service whose hotels are a supplier of their own, that process, and who watches."""
    others_at, hotels_at, worker_at = free_port(), free_port(), free_port()
    (folder / "hotels").mkdir()
    hotels = simulator(folder / "hotels", "--port", str(hotels_at))
    urls: dict[str, Any] = {**supplier_urls(others_at)}
    urls["HOTEL_SUPPLIER_URL"] = supplier_urls(hotels_at)["HOTEL_SUPPLIER_URL"]
    with service(
        API_KEYS=f"prometheus:{SECRET}:operator",
        METRICS_PORT=worker_at,
        RETRY_INTERVAL_SECONDS=0.2,
        UNDO_ATTEMPTS=2,
        **urls,
    ) as running:
        others = running.simulated_suppliers("--port", str(others_at))
        running.processes.append(hotels)
        for suppliers in (others, hotels):
            suppliers.start()
            suppliers.wait_for_output("Suppliers at")
        running.start()
        with watching(folder, running.api_port, SECRET, worker_at) as prometheus:
            yield running, hotels, prometheus


@contextmanager
def travellers(running: Service, **items: str) -> Iterator[None]:
    """Somebody asks for such a trip, and another one, and so on, until the end of the block."""
    trip = {name: f"a-{name}" for name in ("name", *KINDS)} | {"attempts": "2"} | items
    headers = OPERATOR | {"Prefer": "respond-async"}
    enough = threading.Event()
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            while not enough.wait(1):
                assert running.request("POST", "/book", trip, headers).status == 202
        except BaseException as error:  # It is raised at the end of the block.
            failures.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        enough.set()
        asking.join()
    assert not failures, failures


@pytest.mark.slow
@needs_prometheus
def test_a_supplier_that_is_down_and_an_undo_that_sticks_fire_their_alerts_and_no_others(
    tmp_path: Path,
) -> None:
    with watched_service(tmp_path) as (running, hotels, prometheus):
        with travellers(running), travellers(running, flight="sold-out-flight"):
            time.sleep(QUIET_MINUTES * 60 / FASTER)
        # Trips were booked, others were rolled back, and nobody has to do anything.
        ended = prometheus.query("sum by (outcome) (booking_trips_ended_total) > 0")
        assert {each["metric"]["outcome"] for each in ended} == {"booked", "rolled_back"}
        assert prometheus.ever_fired() == set()

        hotels.kill()
        with travellers(running, car="non-refundable-car"):
            wait_until(lambda: len(prometheus.firing()) >= 2, "two alerts fire")
            time.sleep(QUIET_MINUTES * 60 / FASTER)
            fired = {alert["labels"]["alertname"]: alert for alert in prometheus.firing()}
        assert set(fired) == {"SupplierFails", "UndoStuck"} == prometheus.ever_fired()
        assert fired["SupplierFails"]["labels"]["kind"] == "hotel"
        assert fired["UndoStuck"]["labels"]["severity"] == "ticket"
        told = " ".join(text for alert in fired.values() for text in alert["annotations"].values())
        assert re.search(r"100% of the calls of the hotel supplier fail \(127.0.0.1:\d+\)", told)
        assert re.search(r"\d+ undos wait for an operator", told)

        hotels.start()
        hotels.wait_for_output("Suppliers at")

        end = time.monotonic() + DEADLINE
        while firing := prometheus.firing():
            assert time.monotonic() < end, firing
            settle(running)
        assert prometheus.ever_fired() == {"SupplierFails", "UndoStuck"}


def settle(running: Service) -> None:
    """Do for each trip that needs attention what the runbook of `UndoStuck` says."""
    listed = "/bookings?status=needs_attention&limit=100"
    for trip in running.request("GET", listed, headers=OPERATOR).body["bookings"]:
        undo = f"/bookings/{trip['user_id']}/undo"
        running.request("POST", f"{undo}/hotel/retry", headers=OPERATOR)
        note = {"note": "Cancelled by telephone."}
        running.request("POST", f"{undo}/car/resolve", note, OPERATOR)
