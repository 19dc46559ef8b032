"""A simulator, as the conformance suite asks it."""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from record import Record
from tests.simulator.simulated import Simulator
from tests.suppliers.subject import Subject
from tests.suppliers.subjects import TestClock, given


@asynccontextmanager
async def simulated(
    record: Record, folder: Path, clock: TestClock, **mode: Any
) -> AsyncIterator[Subject]:
    """Ask a simulator through the HTTP client."""
    simulator = Simulator(folder / "suppliers.db", token="t0ken", slow_seconds=0.0, seed=1)
    # Whoever holds something compares the time until when with the answer's.
    simulator.now = clock.began.timestamp()
    await simulator.start(**mode)

    async def pause(seconds: float) -> None:
        simulator.now += seconds
        await clock.pause(seconds)

    options = argparse.Namespace(
        supplier=str(simulator.server.make_url("/hotels")),
        supplier_kind="hotel",
        supplier_item="valid-hotel",
        supplier_other_item="another-hotel",
        supplier_unknown_item="unknown-hotel",
        supplier_sold_out_item="sold-out-hotel",
        supplier_pending_item="pending-hotel",
        supplier_token="t0ken",
        supplier_late_seconds=0.0,
        supplier_try_seconds=30.0,
        supplier_patience=120.0,
    )
    try:
        async with given(record, options, pause) as subject:
            yield subject
    finally:
        await simulator.stop()
