"""What the tests of the saga share."""

from dataclasses import replace

import pytest

from suppliers import tries
from tests.conftest import IMPATIENT

LOSING = replace(IMPATIENT, heartbeat_timeout=0.3, step_deadline=60.0)
"""A policy under which a try without heartbeats is lost at once."""


@pytest.fixture
def no_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have tries that take their time be lost, though they go on: their worker is cut off."""

    async def cut_off(interval: float) -> None:
        pass

    monkeypatch.setattr(tries, "_beat", cut_off)
