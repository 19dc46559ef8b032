"""The API does what its OpenAPI document says: Schemathesis against the real processes."""

import json
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from shared import KINDS
from tests.processes import (
    FAST_TIMERS,
    ROOT,
    Service,
    free_port,
    service,
    supplier_urls,
    wait_until,
)

SCHEMATHESIS = Path(sysconfig.get_path("scripts")) / "schemathesis"
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
KEY = "operator-secret-0001"
AUTHORIZATION = {"Authorization": f"Bearer {KEY}"}
DEADLINE = 600.0


def book(service: Service, **changes: str) -> str:
    """Book a trip, changed as told, and return its id."""
    body = {"name": "Jo", **{str(kind): kind for kind in KINDS}, **changes}
    answer = service.request("POST", "/book", body, AUTHORIZATION)
    user_id: str = answer.body["user_id"]
    return user_id


def stuck_trip(service: Service) -> str:
    """Return the id of a trip whose car its supplier does not take back."""
    user_id = book(service, car="non-refundable-car", flight="invalid")

    def is_stuck() -> bool:
        answer = service.request("GET", f"/bookings/{user_id}", headers=AUTHORIZATION)
        return bool(answer.body["status"] == "needs_attention")

    wait_until(is_stuck, "a trip is stuck")
    return user_id


def run_schemathesis(service: Service, trips: list[str], folder: Path) -> tuple[str, Any]:
    """Return what Schemathesis says and its report."""
    shutil.copy(Path(__file__).with_name("schemathesis.toml"), folder)
    (folder / "trips.dict").write_text("".join(f'"{trip}"\n' for trip in trips))
    report = folder / "report.json"
    ran = subprocess.run(
        [
            *(SCHEMATHESIS, "run", f"http://127.0.0.1:{service.api_port}/openapi.json"),
            "--no-color",
            *("--report", "json", "--report-json-path", report),
        ],
        cwd=folder,
        env=os.environ | {"KEY": KEY, "SCHEMATHESIS_HOOKS": str(HOOKS), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
    )
    assert report.exists(), ran.stdout
    return ran.stdout, json.loads(report.read_text())


@pytest.mark.slow
@pytest.mark.skipif(
    not SCHEMATHESIS.exists(), reason="Schemathesis, which requirements/dev.txt has, is missing"
)
def test_every_answer_is_as_the_document_says(tmp_path: Path) -> None:
    port = free_port()
    settings: dict[str, object] = {
        "CAR_SUPPLIER_URL": supplier_urls(port)["CAR_SUPPLIER_URL"],
        "API_KEYS": f"operations:{KEY}:operator",
        "BOOK_WAIT_SECONDS": 0.2,
        "RETRY_INTERVAL_SECONDS": 0.01,
        "UNDO_ATTEMPTS": 1,
    }
    with service("sqlite", FAST_TIMERS, **settings) as real:
        real.simulated_suppliers("--port", str(port)).start()
        real.start()
        trips = [book(real), book(real, hotel="invalid"), stuck_trip(real)]
        said, report = run_schemathesis(real, trips, tmp_path)
        print(said)  # noqa: T201 - the summary, shown with `pytest -rP`
        assert report["exit_code"] == 0, said
        assert report["test_cases"]["generated"] >= 1_000
        assert " ERROR " not in real.api.output
