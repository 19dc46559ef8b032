"""The simulator's files are their owner's, and in its container it ends when it is told to."""

import signal
import time
from pathlib import Path

import pytest

from simulator.stock import Stock
from tests.deploy.image import needs_namespaces, process_one
from tests.deploy.test_process_one import LEAVING
from tests.processes import free_port, service
from tests.simulator.simulated import SCRIPT, slow_call
from tests.test_private_files import modes, private
from tests.test_private_files import open_umask as open_umask


def test_the_files_of_the_simulator_are_their_owners(tmp_path: Path) -> None:
    file = tmp_path / "suppliers.db"
    file.touch()
    file.chmod(0o644)
    stock = Stock(file)
    stock.add("car", "trip", "item", "confirmed")
    names = ("suppliers.db", "suppliers.db-wal", "suppliers.db-shm")
    assert modes(tmp_path) == private(*names)
    stock.close()


@pytest.mark.slow
@needs_namespaces
def test_the_simulator_ends_while_a_call_is_under_way() -> None:
    port = free_port()
    with service() as started:
        database = started.temporal.log.with_name("suppliers.db")
        place = ["--port", str(port), "--database", str(database), "--slow-seconds", "3600"]
        process = process_one(started, "simulator", [SCRIPT, *place])
        process.start()
        process.wait_for_output("Suppliers at ")
        with slow_call(port):
            begun = time.monotonic()
            assert process.tell(signal.SIGTERM) == 0
            assert time.monotonic() - begun < LEAVING
