"""The environment as settings."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from temporalio.common import WorkerDeploymentVersion

from settings import Settings, SupplierSettings, load_settings
from shared import KINDS, Kind, SagaPolicy

DEFAULTS: dict[str, Any] = {
    "host": "127.0.0.1",
    "port": 3000,
    "book_wait_seconds": 60.0,
    "api_keys": SecretStr(""),
    "allow_anonymous": False,
    "max_open_bookings": 1000,
    "max_open_bookings_per_caller": None,
    "bookings_per_second_per_caller": None,
    "max_long_polls": 300,
    "temporal_ui_url": "http://localhost:8233",
    "payload_keys": SecretStr(""),
    "page_examples": "embedded",
    "database_url": "sqlite:///reservations.db",
    "hotel_latency_seconds": 1.0,
    "hotel_outage_attempts": 1,
    "step_deadline_seconds": 600.0,
    "try_timeout_seconds": 120.0,
    "heartbeat_timeout_seconds": 10.0,
    "retry_interval_seconds": 1.0,
    "retry_interval_cap_seconds": 10.0,
    "undo_attempts": 10,
    "stuck_retry_interval_seconds": 3600.0,
    "trip_deadline_seconds": 3600.0,
    "worker_grace_seconds": 10.0,
    "metrics_host": "127.0.0.1",
    "metrics_port": None,
    "audit_interval_seconds": None,
    "workflow_sandbox": False,
    "worker_deployment": None,
    "worker_build_id": None,
    "log_format": "text",
    "log_level": "INFO",
}

OTHERS: dict[str, tuple[str, Any]] = {
    "HOST": ("::1", "::1"),
    "PORT": ("8080", 8080),
    "BOOK_WAIT_SECONDS": ("0.5", 0.5),
    "API_KEYS": ("shop:0123456789abcdef", SecretStr("shop:0123456789abcdef")),
    "ALLOW_ANONYMOUS": ("1", True),
    "MAX_OPEN_BOOKINGS": ("10", 10),
    "MAX_OPEN_BOOKINGS_PER_CALLER": ("7", 7),
    "BOOKINGS_PER_SECOND_PER_CALLER": ("0.5", 0.5),
    "MAX_LONG_POLLS": ("0", 0),
    "TEMPORAL_UI_URL": ("https://temporal.example", "https://temporal.example"),
    "PAYLOAD_KEYS": ("2027:a-key", SecretStr("2027:a-key")),
    "PAGE_EXAMPLES": ("none", "none"),
    "DATABASE_URL": ("postgresql+psycopg://trips@db/trips", "postgresql+psycopg://trips@db/trips"),
    "HOTEL_LATENCY_SECONDS": ("0", 0.0),
    "HOTEL_OUTAGE_ATTEMPTS": ("0", 0),
    "STEP_DEADLINE_SECONDS": ("61", 61.0),
    "TRY_TIMEOUT_SECONDS": ("31", 31.0),
    "HEARTBEAT_TIMEOUT_SECONDS": ("3", 3.0),
    "RETRY_INTERVAL_SECONDS": ("0.25", 0.25),
    "RETRY_INTERVAL_CAP_SECONDS": ("4", 4.0),
    "UNDO_ATTEMPTS": ("7", 7),
    "STUCK_RETRY_INTERVAL_SECONDS": ("62", 62.0),
    "TRIP_DEADLINE_SECONDS": ("63", 63.0),
    "WORKER_GRACE_SECONDS": ("5", 5.0),
    "METRICS_HOST": ("::1", "::1"),
    "METRICS_PORT": ("9464", 9464),
    "AUDIT_INTERVAL_SECONDS": ("600", 600.0),
    "WORKFLOW_SANDBOX": ("1", True),
    "LOG_FORMAT": ("json", "json"),
    "LOG_LEVEL": ("DEBUG", "DEBUG"),
}
"""For each variable another text than its default's, and the value that it means."""

VERSION = {"WORKER_DEPLOYMENT": "trip-booking", "WORKER_BUILD_ID": "2.1.0+5_rc"}
"""Two that come together."""

EMBEDDED = SupplierSettings(url=None, token=None, late_seconds=0, calls_per_second=None)

SECRET = "not-to-be-shown-0123456789"

POSITIVE_SECONDS = [name for name in OTHERS if "SECONDS" in name and "LATENCY" not in name]

BAD_VALUES = [
    *((name, bad) for name in POSITIVE_SECONDS for bad in ("0", "-1", "nan", "inf", "86401", "x")),
    *(("HOTEL_LATENCY_SECONDS", bad) for bad in ("-1", "nan", "inf", "3601", "x", "")),
    *(("HOTEL_OUTAGE_ATTEMPTS", bad) for bad in ("-1", "1.5", "101", "x", "")),
    *(("UNDO_ATTEMPTS", bad) for bad in ("0", "1001", "1.5", "x", "")),
    *(
        (name, bad)
        for name in ("PORT", "METRICS_PORT")
        for bad in ("0", "65536", "-1", "1.5", "http", "")
    ),
    ("METRICS_HOST", ""),
    *(("MAX_OPEN_BOOKINGS", bad) for bad in ("0", "10001", "1.5", "x", "")),
    *(("MAX_OPEN_BOOKINGS_PER_CALLER", bad) for bad in ("0", "10001", "1.5", "x", "")),
    *(
        ("BOOKINGS_PER_SECOND_PER_CALLER", bad)
        for bad in ("0", "0.0001", "-1", "1.5", "10001", "nan", "inf", "x", "")
    ),
    *(("MAX_LONG_POLLS", bad) for bad in ("-1", "10001", "1.5", "x", "")),
    *(("ALLOW_ANONYMOUS", bad) for bad in ("", "perhaps")),
    *(("WORKFLOW_SANDBOX", bad) for bad in ("", "perhaps")),
    *(("HOST", bad) for bad in ("", "0.0.0.0", "::", "192.0.2.1", "trips.example")),
    *(
        ("TEMPORAL_UI_URL", bad)
        for bad in ("", "localhost:8233", "ftp://x", "javascript:x", "http://x\ny")
    ),
    *(
        ("DATABASE_URL", bad)
        for bad in ("", "reservations.db", "sqlite+aiosqlite:///x.db", "mysql://db/x")
    ),
    *(("DATABASE_URL", f"sqlite{bad}") for bad in ("://", ":///:memory:")),
    *(("DATABASE_URL", f"postgresql+psycopg://{bad}/x") for bad in ("db:port", "u:p@db:port")),
    *(("WORKER_DEPLOYMENT", bad) for bad in ("", "a.b", "a:b", "a b", "a\n", "ä", "a" * 201)),
    *(("WORKER_BUILD_ID", bad) for bad in ("", "a:b", "a b", "a'b", "a\n", "ä", "a" * 201)),
    *(("LOG_FORMAT", bad) for bad in ("", "xml", "JSON")),
    *(("LOG_LEVEL", bad) for bad in ("", "LOUD", "info")),
]


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the machine's own settings, and its user's `temporal.toml`."""
    for name in os.environ:
        if name in OTHERS or name in VERSION or name.startswith("TEMPORAL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_every_setting_has_a_default_that_runs_on_a_laptop() -> None:
    settings = load_settings()
    assert dict(settings) == DEFAULTS
    assert settings.suppliers == dict.fromkeys(KINDS, EMBEDDED)


def test_a_variable_of_make_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPPLIERS", "http")
    assert dict(load_settings()) == DEFAULTS


@pytest.mark.parametrize("name", OTHERS)
def test_every_setting_is_read_from_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    text, value = OTHERS[name]
    monkeypatch.setenv(name, text)
    settings = load_settings()
    assert dict(settings) == DEFAULTS | {name.lower(): value}


def test_the_workers_version_is_a_build_of_a_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().worker_version is None
    for name, text in VERSION.items():
        monkeypatch.setenv(name, text)
    assert load_settings().worker_version == WorkerDeploymentVersion(*VERSION.values())


@pytest.mark.parametrize("name", VERSION)
def test_a_half_of_the_workers_version_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (missing,) = VERSION.keys() - {name}
    monkeypatch.setenv(name, VERSION[name])
    with pytest.raises(SystemExit) as stopped:
        load_settings()
    assert str(stopped.value) == f"Bad setting {missing}: must be set, because {name} is set"


@pytest.mark.parametrize("kind", KINDS)
def test_the_supplier_of_each_kind_is_read_from_variables_of_its_own(
    monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    for name, value in {
        "URL": "https://hotels.example:8443/v1",
        "TOKEN": SECRET,
        "LATE_SECONDS": "90",
        "CALLS_PER_SECOND": "0.5",
    }.items():
        monkeypatch.setenv(f"{kind.upper()}_SUPPLIER_{name}", value)
    settings = load_settings()
    told = SupplierSettings(
        url="https://hotels.example:8443/v1",
        token=SecretStr(SECRET),
        late_seconds=90,
        calls_per_second=0.5,
    )
    assert settings.suppliers == {**dict.fromkeys(KINDS, EMBEDDED), kind: told}
    assert settings.saga_policy.own_queues == (kind,)


def test_a_kind_that_may_be_called_only_so_often_has_a_queue_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_settings().saga_policy.own_queues == ()
    monkeypatch.setenv("FLIGHT_SUPPLIER_CALLS_PER_SECOND", "10")
    assert load_settings().saga_policy.own_queues == ("flight",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("CAR_SUPPLIER_URL", bad)
            for bad in (
                "",
                "cars.example",
                "ftp://cars.example",
                "http://",
                f"http://{SECRET}@cars.example",
                f"http://me:{SECRET}@cars.example/",
                "http://cars.example:0",
                "http://cars.example:65536",
                "http://cars.example:http",
                "http://cars.example/?key=1",
                "http://cars.example/#cars",
                "http://cars .example",
                "http://cars..example",
                f"http://{'a' * 64}.example",
                "http://cars\\.example",
                "http://cars.example\n",
            )
        ),
        *(("HOTEL_SUPPLIER_TOKEN", bad) for bad in ("", "a b", f"{SECRET}\n", f"{SECRET}é", "=a")),
        *(("FLIGHT_SUPPLIER_LATE_SECONDS", bad) for bad in ("-1", "nan", "inf", "86401", "x", "")),
        *(
            ("FLIGHT_SUPPLIER_CALLS_PER_SECOND", bad)
            for bad in ("0", "-1", "nan", "inf", "100001", "x", "")
        ),
    ],
)
def test_a_bad_value_for_a_supplier_stops_the_process_with_one_line_that_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    kind, _, _ = name.partition("_")
    monkeypatch.setenv(f"{kind}_SUPPLIER_URL", "http://supplier.example")
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        load_settings()
    assert_one_line(stopped.value, starts=f"Bad setting {name}: ")
    assert SECRET not in str(stopped.value)


@pytest.mark.parametrize("name", ["TOKEN", "LATE_SECONDS"])
def test_what_only_a_service_has_needs_its_url(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"CAR_SUPPLIER_{name}", "60")
    with pytest.raises(SystemExit, match=rf"^Bad setting CAR_SUPPLIER_{name}: .* URL"):
        load_settings()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:3001/cars", "https://[::1]/", "http://cars.example/a/b"]
)
def test_a_supplier_may_be_anywhere(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("CAR_SUPPLIER_URL", url)
    assert load_settings().suppliers["car"].url == url


@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
def test_a_bad_value_stops_the_process_with_one_line_that_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        load_settings()
    assert_one_line(stopped.value, starts=f"Bad setting {name}: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", f"mysql://trips:{SECRET}@db/trips"),
    ],
)
def test_the_line_about_a_bad_value_does_not_show_its_secret(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        load_settings()
    assert SECRET not in str(stopped.value)


def test_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEYS", "PAYLOAD_KEYS"):
        monkeypatch.setenv(name, f"2026:{SECRET}")
    assert SECRET not in repr(load_settings())


@pytest.mark.parametrize("protection", ["API_KEYS", "ALLOW_ANONYMOUS"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "trips.example"])
def test_others_than_this_machine_are_served_only_when_that_is_meant(
    monkeypatch: pytest.MonkeyPatch, host: str, protection: str
) -> None:
    monkeypatch.setenv("HOST", host)
    monkeypatch.setenv(protection, OTHERS[protection][0])
    assert load_settings().host == host


def test_settings_cannot_be_changed() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]  # the test is that this fails


def test_new_trips_start_with_the_policy_that_the_settings_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_settings().saga_policy == SagaPolicy()
    for name, (text, _) in OTHERS.items():
        monkeypatch.setenv(name, text)
    assert load_settings().saga_policy == SagaPolicy(
        step_deadline=61,
        try_timeout=31,
        heartbeat_timeout=3,
        retry_interval=0.25,
        retry_interval_cap=4,
        undo_attempts=7,
        stuck_retry_interval=62,
        trip_deadline=63,
    )


def test_the_longest_wait_between_tries_is_never_shorter_than_the_first() -> None:
    # Temporal refuses such a retry policy.
    policy = Settings(retry_interval_seconds=20, retry_interval_cap_seconds=10).saga_policy
    assert policy.retry_interval_cap == 20


def assert_one_line(stopped: SystemExit, starts: str) -> None:
    message = stopped.code
    assert isinstance(message, str)
    assert message.startswith(starts)
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (None, "embedded"),
        ("http://hotels.example/v1", "hotels.example:80"),
        ("https://Hotels.example", "hotels.example:443"),
        ("https://hotels.example:8443/a/b", "hotels.example:8443"),
        ("http://[::1]:3001/hotels", "[::1]:3001"),
    ],
)
def test_a_supplier_is_named_by_host_and_port(url: str | None, name: str) -> None:
    assert SupplierSettings(url=url).name == name
