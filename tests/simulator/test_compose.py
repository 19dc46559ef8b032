"""Compose's simulator: it is of the one image, and where the worker asks."""

import pytest

from shared import KINDS
from tests.deploy.test_compose import OURS, PARTS, SERVICES, environment
from tests.processes import ROOT
from tests.simulator.simulated import SCRIPT
from tests.variables import settings_of


def test_the_simulator_is_of_the_one_image() -> None:
    assert OURS["simulator"]["command"][0] == SCRIPT
    assert (ROOT / SCRIPT).is_file()


def test_the_simulated_suppliers_are_where_the_worker_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = (PARTS / "suppliers.env").read_text().splitlines()
    told = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert told.keys() - {"PAGE_EXAMPLES"} <= SERVICES["worker"]["environment"].keys()
    assert told.keys() <= SERVICES["api"]["environment"].keys()
    suppliers = settings_of(environment("worker") | told, monkeypatch).suppliers
    command = SERVICES["simulator"]["command"]
    port = command[command.index("--port") + 1]
    assert {kind: each.url for kind, each in suppliers.items()} == {
        kind: f"http://simulator:{port}/{kind}s" for kind in KINDS
    }
    assert SERVICES["simulator"]["environment"]["PORT"] == port, "where the health check asks"
