"""Stacks: a Temporal server, a database, workers and APIs that belong together and can be loaded.

`project` is what `make run` starts, less the simulated waits; `defaults` is the dev server and the
worker as they come. Nothing of a stack outlives its `with` block.
"""

import contextlib
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.processes import (
    ROOT,
    Database,
    Process,
    bare_environment,
    database_url,
    free_port,
    postgres,
    simulator,
    supplier_urls,
    temporal_command,
    wait_until,
)

READY_DEADLINE = 120.0

NO_WAITS = {"HOTEL_LATENCY_SECONDS": "0", "HOTEL_OUTAGE_ATTEMPTS": "0"}
SIMULATED_WAITS = {"HOTEL_LATENCY_SECONDS": "1", "HOTEL_OUTAGE_ATTEMPTS": "1"}

SLOW_SECONDS = 5.0
"""How long the simulator's slow items take, as it comes."""

PROJECT_WORKER = ["run_worker.py"]
DEFAULT_WORKER = ["-m", "benchmarks.baseline_worker"]


class Stack:
    """The processes of one stack, by role; none is started yet."""

    def __init__(
        self,
        folder: Path,
        temporal_command: list[str],
        worker_command: list[str],
        database: Database,
        settings: Mapping[str, str],
        source: Path,
        suppliers: Sequence[str] | None = None,
    ) -> None:
        self.folder = folder
        self._source = source
        self._worker_command = worker_command
        temporal_port = free_port()
        self.temporal_address = f"127.0.0.1:{temporal_port}"
        self.temporal = Process(
            "temporal",
            [*temporal_command, "--ip", "127.0.0.1", "--port", str(temporal_port), "--headless"],
            folder / "temporal.log",
            _environment(),
        )
        self.postgres = postgres(folder) if database == "postgresql" else None
        self.database_url = database_url(folder, self.postgres)
        self._settings = {
            "TEMPORAL_ADDRESS": self.temporal_address,
            "DATABASE_URL": self.database_url,
            **settings,
        }
        self.suppliers: Process | None = None
        if suppliers is not None:
            port = free_port()
            self.suppliers = simulator(folder, "--port", str(port), *suppliers)
            self._settings |= supplier_urls(port)
        self.workers: list[Process] = []
        self.apis: list[Process] = []
        self.api_urls: list[str] = []

    def start(self) -> None:
        """Start the server, one worker and one API, and wait until trips can be booked."""
        if self.postgres:
            self.postgres.start()
        if self.suppliers:
            self.suppliers.start()
            self.suppliers.wait_for_output("Suppliers at")
        self.temporal.start()
        self.scale(workers=1, apis=1)

    def scale(self, workers: int, apis: int) -> None:
        """Start or stop workers and APIs until there are so many, all of them ready."""
        while len(self.apis) > apis:
            self.api_urls.pop()
            self.apis.pop().stop()
        while len(self.workers) > workers:
            self.workers.pop().stop()
        while len(self.workers) < workers:
            worker = self._python(f"worker-{len(self.workers) + 1}", self._worker_command)
            self.workers.append(worker)
            worker.start()
        for worker in self.workers:
            worker.wait_for_output("Polling task queue")
        while len(self.apis) < apis:
            port = free_port()
            api = self._python(f"api-{len(self.apis) + 1}", ["starter.py"], PORT=str(port))
            self.apis.append(api)
            self.api_urls.append(f"http://127.0.0.1:{port}")
            api.start()
        for url in self.api_urls:
            wait_until(_answers(f"{url}/readyz"), f"{url} is ready", READY_DEADLINE)

    def kill(self) -> None:
        """Kill whatever runs, the server last."""
        for process in (*self.apis, *self.workers, self.suppliers, self.temporal, self.postgres):
            if process:
                process.kill()

    def members(self) -> dict[str, list[psutil.Process]]:
        """Return the running processes by role."""
        roles = {
            "server": [self.temporal],
            "worker": self.workers,
            "api": self.apis,
            "postgres": [self.postgres] if self.postgres else [],
            "suppliers": [self.suppliers] if self.suppliers else [],
        }
        return {
            role: [psutil.Process(process.pid) for process in processes]
            for role, processes in roles.items()
            if processes
        }

    def _python(self, name: str, command: list[str], **changes: str) -> Process:
        environment = _environment() | self._settings | changes
        log = self.folder / f"{name}.log"
        return Process(name, [sys.executable, *command], log, environment, self._source)


def project(
    database: Database = "sqlite",
    settings: Mapping[str, str] = NO_WAITS,
    source: Path = ROOT,
    *,
    suppliers: bool = False,
    slow_seconds: float = SLOW_SECONDS,
    server_options: Sequence[str] = (),
) -> contextlib.AbstractContextManager[Stack]:
    """Return a started stack as the Procfile has it, on files of its own.

    `source` is the checkout whose Procfile, worker and API it is; `suppliers` says whether they are
    a process of their own, in which slow ones take `slow_seconds`; `server_options` are further
    ones of the Temporal server.
    """

    def server(folder: Path) -> list[str]:
        return [*temporal_command(folder, source), *server_options]

    options = ("--slow-seconds", str(slow_seconds)) if suppliers else None
    return _started(server, PROJECT_WORKER, database, settings, source, options)


def defaults() -> contextlib.AbstractContextManager[Stack]:
    """Return a started stack whose server and worker are as they come, with the project's API."""
    return _started(_bare_command, DEFAULT_WORKER, "sqlite", NO_WAITS)


@contextmanager
def _started(
    server: Callable[[Path], list[str]],
    worker_command: list[str],
    database: Database,
    settings: Mapping[str, str],
    source: Path = ROOT,
    suppliers: Sequence[str] | None = None,
) -> Iterator[Stack]:
    # Not under the user's own folder: PostgreSQL needs one that other users may enter.
    with tempfile.TemporaryDirectory(prefix="trip-benchmark-") as name:
        folder = Path(name)
        stack = Stack(folder, server(folder), worker_command, database, settings, source, suppliers)
        try:
            stack.start()
            yield stack
        finally:
            stack.kill()


def _bare_command(_folder: Path) -> list[str]:
    return ["temporal", "server", "start-dev"]


def _environment() -> dict[str, str]:
    """Return this process's environment less what would change what is measured."""
    environment = bare_environment()
    # Without its .pyc files the sandbox compiles the workflow's modules for each booking.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def _answers(url: str) -> Callable[[], bool]:
    def answers() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=10):  # noqa: S310 - it is our own address.
                return True
        except OSError:  # An HTTPError is one as well.
            return False

    return answers
