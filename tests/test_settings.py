"""The environment as settings, and the way to Temporal."""

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import TEMPORAL_CLI
from pydantic import ValidationError
from temporalio.envconfig import ClientConnectConfig
from temporalio.testing import WorkflowEnvironment

from settings import Settings, connect, lazy_client, load_settings, temporal_config
from shared import SagaPolicy

DEFAULTS: dict[str, Any] = {
    "host": "127.0.0.1",
    "port": 3000,
    "book_wait_seconds": 60.0,
    "http_threads": 128,
    "temporal_ui_url": "http://localhost:8233",
    "database_url": "sqlite+aiosqlite:///reservations.db",
    "hotel_latency_seconds": 1.0,
    "hotel_outage_attempts": 1,
    "step_deadline_seconds": 600.0,
    "try_timeout_seconds": 30.0,
    "heartbeat_timeout_seconds": 2.0,
    "retry_interval_seconds": 1.0,
    "retry_interval_cap_seconds": 10.0,
    "undo_attempts": 10,
    "stuck_retry_interval_seconds": 3600.0,
    "worker_grace_seconds": 10.0,
    "log_format": "text",
    "log_level": "INFO",
}

ANOTHER_VALUE = {
    "HOST": "0.0.0.0",
    "PORT": "8080",
    "BOOK_WAIT_SECONDS": "0.5",
    "HTTP_THREADS": "16",
    "TEMPORAL_UI_URL": "https://temporal.example",
    "DATABASE_URL": "postgresql+psycopg://trips@db/trips",
    "HOTEL_LATENCY_SECONDS": "0",
    "HOTEL_OUTAGE_ATTEMPTS": "0",
    "STEP_DEADLINE_SECONDS": "61",
    "TRY_TIMEOUT_SECONDS": "31",
    "HEARTBEAT_TIMEOUT_SECONDS": "3",
    "RETRY_INTERVAL_SECONDS": "0.25",
    "RETRY_INTERVAL_CAP_SECONDS": "4",
    "UNDO_ATTEMPTS": "7",
    "STUCK_RETRY_INTERVAL_SECONDS": "62",
    "WORKER_GRACE_SECONDS": "5",
    "LOG_FORMAT": "json",
    "LOG_LEVEL": "DEBUG",
}

POSITIVE_SECONDS = [name for name in ANOTHER_VALUE if "SECONDS" in name and "LATENCY" not in name]

BAD_VALUES = [
    *((name, bad) for name in POSITIVE_SECONDS for bad in ("0", "-1", "nan", "inf", "86401", "x")),
    *(("HOTEL_LATENCY_SECONDS", bad) for bad in ("-1", "nan", "inf", "3601", "x", "")),
    *(("HOTEL_OUTAGE_ATTEMPTS", bad) for bad in ("-1", "1.5", "101", "x", "")),
    *(("UNDO_ATTEMPTS", bad) for bad in ("0", "1001", "1.5", "x", "")),
    *(("PORT", bad) for bad in ("0", "65536", "-1", "1.5", "http", "")),
    *(("HTTP_THREADS", bad) for bad in ("3", "10001", "1.5", "x", "")),
    ("HOST", ""),
    *(
        ("TEMPORAL_UI_URL", bad)
        for bad in ("", "localhost:8233", "ftp://x", "javascript:x", "http://x\ny")
    ),
    *(("DATABASE_URL", bad) for bad in ("", "reservations.db", "sqlite:///x.db", "mysql://db/x")),
    *(("DATABASE_URL", f"postgresql+psycopg://{bad}/x") for bad in ("db:port", "u:p@db:port")),
    *(("LOG_FORMAT", bad) for bad in ("", "xml", "JSON")),
    *(("LOG_LEVEL", bad) for bad in ("", "LOUD", "info")),
]


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the machine's own settings, and its user's `temporal.toml`."""
    for name in os.environ:
        if name in ANOTHER_VALUE or name.startswith("TEMPORAL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_every_setting_has_a_default_that_runs_on_a_laptop() -> None:
    assert load_settings().model_dump() == DEFAULTS


@pytest.mark.parametrize(("name", "value"), ANOTHER_VALUE.items())
def test_every_setting_is_read_from_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    changed = load_settings().model_dump()
    expected = type(DEFAULTS[name.lower()])(value)
    assert changed == DEFAULTS | {name.lower(): expected}


@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
def test_a_bad_value_stops_the_process_with_one_line_that_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        load_settings()
    assert_one_line(stopped.value, starts=f"Bad setting {name}: ")


def test_the_line_about_a_bad_database_url_does_not_show_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://trips:secret@db/trips")
    with pytest.raises(SystemExit) as stopped:
        load_settings()
    assert "secret" not in str(stopped.value)


def test_settings_cannot_be_changed() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]  # the test is that this fails


def test_new_trips_start_with_the_policy_that_the_settings_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_settings().saga_policy == SagaPolicy()
    for name, value in ANOTHER_VALUE.items():
        monkeypatch.setenv(name, value)
    assert load_settings().saga_policy == SagaPolicy(
        step_deadline=61,
        try_timeout=31,
        heartbeat_timeout=3,
        retry_interval=0.25,
        retry_interval_cap=4,
        undo_attempts=7,
        stuck_retry_interval=62,
    )


def test_the_longest_wait_between_tries_is_never_shorter_than_the_first() -> None:
    # Temporal refuses such a retry policy.
    policy = Settings(retry_interval_seconds=20, retry_interval_cap_seconds=10).saga_policy
    assert policy.retry_interval_cap == 20


def test_temporal_is_on_this_machine_when_nothing_else_is_said() -> None:
    assert temporal_config() == {"target_host": "localhost:7233"}


def test_temporals_own_variables_say_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal.example:7233")
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "trips")
    assert temporal_config() == {"target_host": "temporal.example:7233", "namespace": "trips"}


def test_temporals_config_file_says_where_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "temporal.toml"
    config.write_text('[profile.default]\naddress = "temporal.example:7233"\n')
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(config))
    assert temporal_config()["target_host"] == "temporal.example:7233"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TEMPORAL_CONFIG_FILE", "."),
        pytest.param(
            "TEMPORAL_CONFIG_FILE",
            "broken.toml",
            marks=pytest.mark.xfail(reason="the TOML parser's five lines are shown", strict=True),
        ),
        ("TEMPORAL_PROFILE", "nobody-wrote-it"),
        ("TEMPORAL_TLS_CLIENT_CERT_PATH", "missing.pem"),
    ],
)
def test_an_unreadable_temporal_configuration_stops_the_process_with_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    (tmp_path / "broken.toml").write_text("address = = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        temporal_config()
    assert_one_line(stopped.value, starts="Bad Temporal configuration (TEMPORAL_*): ")


@pytest.mark.xfail(raises=ValueError, reason="ends in a traceback", strict=True)
@pytest.mark.parametrize("address", ["localhost:99999", "two words:7233"])
async def test_an_address_that_cannot_be_one_stops_the_process_with_one_line(address: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        await connect(ClientConnectConfig(target_host=address))
    assert_one_line(stopped.value, starts="Bad Temporal configuration (TEMPORAL_*): ")


async def test_connecting_waits_for_temporal_and_says_where(
    unused_tcp_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    with caplog.at_level(logging.INFO, "settings"):
        connecting = asyncio.create_task(connect(ClientConnectConfig(target_host=address)))
        async with asyncio.timeout(10):
            while f"Waiting for Temporal at {address}: " not in caplog.text:
                await asyncio.sleep(0.01)
            assert not connecting.done()
            async with await WorkflowEnvironment.start_local(
                port=unused_tcp_port, dev_server_existing_path=str(TEMPORAL_CLI)
            ):
                client = await connecting
                assert await client.service_client.check_health()
    assert f"Connected to Temporal at {address}" in caplog.text


async def test_a_lazy_client_is_there_before_temporal_and_connects_on_its_first_call(
    environment: WorkflowEnvironment,
) -> None:
    nowhere = await lazy_client(ClientConnectConfig(target_host="127.0.0.1:1"))
    with pytest.raises(RuntimeError, match="Failed client connect"):
        await nowhere.service_client.check_health()
    address = environment.client.service_client.config.target_host
    client = await lazy_client(ClientConnectConfig(target_host=address))
    assert await client.service_client.check_health()


def assert_one_line(stopped: SystemExit, starts: str) -> None:
    message = stopped.code
    assert isinstance(message, str)
    assert message.startswith(starts)
    assert len(message.splitlines()) == 1
