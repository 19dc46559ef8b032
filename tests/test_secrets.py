"""No secret is in what any process writes: at its start, at work, and when it fails.

The secret is such that each of its parts can be recognised, also in base64.
"""

import base64
import os
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings

from api import keys_of
from connection import encryption_of, temporal_config
from settings import Settings, SupplierSettings, load_settings
from shared import KINDS
from telemetry import spans, start_tracing
from telemetry.traces import CHECKED
from tests.processes import Process, Service, free_port, service, supplier_urls, wait_until

SECRET = "zq" * 12
PART = re.compile("zqz|qzq|enF6|cXpx", re.IGNORECASE)

SHOWN = {
    "allowed_hosts",
    *("host", "public_url", "suppliers_url", "temporal_ui_url", "metrics_host"),
    *("worker_deployment", "worker_build_id"),
    *("url", "webhook_url"),  # They are refused with credentials in them.
}
"""Settings of text that are no secret. Links, logs and metrics show them."""

PEM = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"

PROXIES = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")

TEMPORAL = (
    *("TEMPORAL_API_KEY", "TEMPORAL_GRPC_META_AUTHORIZATION"),
    *("TEMPORAL_TLS_CLIENT_CERT_DATA", "TEMPORAL_TLS_CLIENT_KEY_DATA"),
    *("TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_TLS_CLIENT_KEY_PATH"),
    *("TEMPORAL_TLS_SERVER_CA_CERT_DATA", "TEMPORAL_TLS_SERVER_CA_CERT_PATH"),
    *("TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "TEMPORAL_PROFILE", "TEMPORAL_CONFIG_FILE"),
)

TRACES = [name for name in CHECKED if name.startswith("OTEL_EXPORTER")]

BROKEN_PROXIES = (
    *(f"http://u:{SECRET}@proxy:{SECRET}", f"http://u:zq/{SECRET}@proxy:1"),
    *(f"socks5://u:{SECRET}@proxy:1", f"http://u:{SECRET}@:1", f"http://u:{SECRET}#@h"),
)

BROKEN: dict[str, tuple[str, ...]] = {
    "API_KEYS": (f"{SECRET}:", f"shop:{SECRET} {SECRET}", f"a:{SECRET},shop:{SECRET[:15]}"),
    "PAYLOAD_KEYS": (f"2026:{SECRET}", f"2026:{base64.b64encode(SECRET.encode()).decode()}"),
    "DATABASE_URL": (
        *(f"postgresql://u:zq@{SECRET}@db.invalid/x", f"postgresql://u:p@zq/{SECRET}@db.invalid/x"),
        *(f"postgresql://u:p@zq?{SECRET}@db.invalid/x", f"postgresql://db/x?port={SECRET}"),
        f"postgresql://u:zq@zq:{SECRET}@db.invalid/x",
        *(f"postgresql://db/x?password=a&{SECRET}=1", f"postgresql://db/x?sslpassword=&{SECRET}=1"),
        *(f"mysql://u:{SECRET}@db/x", f"sqlite://u:{SECRET}@db/x"),
    ),
    **{f"{kind.upper()}_SUPPLIER_TOKEN": (f"{SECRET}\n", f"{SECRET}é") for kind in KINDS},
    "WEBHOOK_SECRET": (SECRET, f"whsec_{SECRET}é", f"whsec_{SECRET * 2} {SECRET}"),
    "WEBHOOK_URL": (f"https://u:{SECRET}@h", f"http://h/{SECRET}", f"https://h?{SECRET}"),
    **dict.fromkeys(PROXIES, BROKEN_PROXIES),
    **{
        f"{prefix}_HEADERS": (
            *(f"a={SECRET}é", f"a={SECRET};b", f"a={SECRET}%0Ab", f"a={SECRET},{SECRET}"),
            *(f"a b={SECRET}", f"é={SECRET}", f'a="{SECRET}"', f"a={SECRET}\\", SECRET),
        )
        for prefix in ("OTEL_EXPORTER_OTLP", "OTEL_EXPORTER_OTLP_TRACES")
    },
    **{
        f"{prefix}_ENDPOINT": (f"http://collector:{SECRET}", f"http://u:zq/{SECRET}@h:1", SECRET)
        for prefix in ("OTEL_EXPORTER_OTLP", "OTEL_EXPORTER_OTLP_TRACES")
    },
    "TEMPORAL_ADDRESS": (f"https://u:{SECRET}@temporal:7233", f"temporal:{SECRET}"),
    "TEMPORAL_TLS_CLIENT_KEY_PATH": (PEM,),
    "TEMPORAL_TLS_CLIENT_CERT_PATH": (PEM,),
}
"""Values that the process refuses at its start."""

FILES = [
    f'[profile.default]\napi_key = "{SECRET}\n',
    f"api_key = {SECRET}\n",
    f'[profile.default]\napi_key = ["{SECRET}"]\n',
    f'[profile.default]\ntls = "{SECRET}"\n',
    f"[profile.default]\n{SECRET} = 1\n{SECRET} = 2\n",
    f'[profile.default.tls]\nclient_key_path = "/none/{SECRET}"\n',
    f'[profile.default.tls]\nclient_key_path = "/none"\nclient_key_data = "{SECRET}"\n',
    f'[profile.default.tls]\nclient_key_data = """{PEM}"""\n',
    f'[profile.default]\naddress = "u:{SECRET}@temporal:7233"\n',
    f"{PEM}",
]
"""Contents of `temporal.toml` that are refused."""


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in os.environ:
        if name.startswith(("TEMPORAL_", "OTEL_")) or name in PROXIES:
            monkeypatch.delenv(name)
    for kind in KINDS:
        monkeypatch.setenv(f"{kind.upper()}_SUPPLIER_URL", "https://supplier.example")
    monkeypatch.setenv("CAR_SUPPLIER_URL", "http://supplier.example")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setattr(spans, "start", lambda _: None)


def fields(model: type[BaseSettings], kind: type) -> set[str]:
    """Return the names of the settings whose values may be of that type."""
    return {
        name
        for name, field in model.model_fields.items()
        if kind in (field.annotation, *getattr(field.annotation, "__args__", ()))
    }


def variables() -> set[str]:
    """Return every variable that may have a secret in it."""
    own = {name.upper() for name in fields(Settings, SecretStr)}
    of_a_kind = {name.upper() for name in fields(SupplierSettings, SecretStr)}
    suppliers = {f"{kind.upper()}_SUPPLIER_{name}" for kind in KINDS for name in of_a_kind}
    return {*own, *suppliers, *PROXIES, *TEMPORAL, *TRACES}


def start() -> tuple[object, ...]:
    """Read all that the processes read at their start."""
    settings = load_settings()
    temporal_config()
    start_tracing("trips")
    proxies = [told.proxy for told in settings.suppliers.values()]
    keys, encryption = keys_of(settings.api_keys), encryption_of(settings.payload_keys)
    return settings, settings.suppliers, proxies, keys, encryption


def test_a_setting_of_text_is_a_secret_unless_it_is_known_to_be_none() -> None:
    assert fields(Settings, str) | fields(SupplierSettings, str) == SHOWN


@pytest.mark.parametrize("name", sorted(variables()))
def test_what_is_read_from_a_variable_shows_no_secret(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    values = {
        "API_KEYS": f"shop:{SECRET}",
        "PAYLOAD_KEYS": f"2026:{base64.b64encode(b'zq' * 16).decode()}",
        "DATABASE_URL": f"postgresql://u:{SECRET}@db/x?password={SECRET}&sslpassword={SECRET}",
        **dict.fromkeys(PROXIES, f"http://u:{SECRET}@proxy:3128"),
    }
    monkeypatch.setenv(name, values.get(name, SECRET))
    try:
        told = repr(start()) + str(start())
    except SystemExit as ended:
        told = str(ended)
        assert "\n" not in told
        assert name not in values, f"It is valid: {told}"
    assert not PART.search(told)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BROKEN.items() for value in values]
)
def test_a_broken_value_is_refused_in_one_line_without_any_of_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        start()
    assert re.fullmatch("Bad (setting|Temporal configuration) .*", str(ended.value))
    assert not PART.search(str(ended.value))


@pytest.mark.parametrize("name", ["database_url", "port"])
def test_settings_that_somebody_makes_of_bad_values_raise_without_them(name: str) -> None:
    values: dict[str, Any] = {"payload_keys": SECRET, name: f"mysql://{SECRET}"}
    with pytest.raises(ValidationError) as raised:
        Settings(**values)
    assert not PART.search(str(raised.value))


@pytest.mark.parametrize("content", FILES)
def test_a_broken_file_is_refused_in_one_line_without_any_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    file = tmp_path / "temporal.toml"
    file.write_text(content)
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(file))
    with pytest.raises(SystemExit) as ended:
        start()
    assert re.fullmatch("Bad Temporal configuration .*", str(ended.value))
    assert not PART.search(str(ended.value))


COMMANDS = {
    "api": ["starter.py"],
    "worker": ["run_worker.py"],
    "migration": ["-m", "record"],
    "hand-over": ["-m", "record", "hand-over", "--from=anonymous", "--to=shop"],
    "audit": ["-m", "audit"],
}
"""All processes that have the settings."""


def planted(running: Service) -> dict[str, str]:
    """Return settings that are valid or fail at work, with a secret wherever one may be."""
    database = running.database_url
    if running.postgres is not None:  # It asks for no password, and so takes any.
        database = database.replace("postgres@", f"postgres:{SECRET}@")
    return {
        "API_KEYS": f"shop:{SECRET},boss:{SECRET}2:operator",
        "PAYLOAD_KEYS": f"2026:{base64.b64encode(b'zq' * 16).decode()}",
        "DATABASE_URL": database,
        **dict.fromkeys(PROXIES, f"http://u:{SECRET}@127.0.0.1:{free_port()}"),
        "NO_PROXY": "127.0.0.1,localhost",
        **{f"{kind.upper()}_SUPPLIER_TOKEN": SECRET for kind in KINDS},
        "WEBHOOK_URL": "https://shop.example",  # Through the proxy, too.
        "WEBHOOK_SECRET": f"whsec_{base64.b64encode(b'zq' * 16).decode()}",
        "FLIGHT_SUPPLIER_URL": "https://flights.example",  # Through the proxy, which is away.
        "TEMPORAL_API_KEY": SECRET,
        "TEMPORAL_TLS": "false",
        "TEMPORAL_GRPC_META_X_KEY": SECRET,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://u:{SECRET}@127.0.0.1:{free_port()}/{SECRET}",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Basic%20{SECRET}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "0.5",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "LOG_LEVEL": "DEBUG",
    }


def told(running: Service) -> str:
    """Return all that the processes have written, those of ours."""
    ours = {each.log for each in running.processes} - {running.temporal.log}
    if running.postgres is not None:
        ours.remove(running.postgres.log)
    return "".join(log.read_text() for log in ours if log.exists())


@pytest.mark.slow
@pytest.mark.parametrize("token", [SECRET, "another"])
def test_no_process_writes_a_secret_at_work_and_when_all_is_away(token: str) -> None:
    with service("postgresql", RETRY_INTERVAL_SECONDS="0.1") as running:
        port = free_port()
        suppliers = running.simulated_suppliers("--port", str(port), "--token", token)
        running.settings |= supplier_urls(port) | planted(running)
        running.workers = [running.python("first", *COMMANDS["worker"])]
        running.api = running.python("asked", *COMMANDS["api"])
        suppliers.start()
        running.start()
        keys = [SECRET, f"{SECRET}2", f"{SECRET}?", f"Basic {SECRET}", "zq:zq"]
        body = {"name": "Jane", "attempts": 2, "car": "a", "hotel": "b", "flight": "c"}
        for key in keys:
            answer = running.request(
                "POST",
                "/book",
                body,
                {"Authorization": f"Bearer {key}", "Idempotency-Key": SECRET},
            )
            assert answer.status in (200, 401)
            assert not PART.search(str(answer))
        jobs = [
            running.python(name, *command)
            for name, command in COMMANDS.items()
            if name not in ("api", "worker")
        ]
        for job in jobs:
            job.start()
            assert job.exit_code() in (0, 1, 2)
        for process in (suppliers, running.temporal, running.postgres):
            assert process is not None
            process.kill()
        wait_until(lambda: running.status_of("/readyz") == 503, "all is away")
        for process in (running.api, *running.workers):
            assert process.stop() == 0
        for process in (running.api, *running.workers, *jobs):
            process.start()
            if process in jobs:
                process.exit_code()
            else:
                process.wait_for_output("Waiting")
        assert "Traces are lost" in told(running)
        assert not PART.search(told(running))


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_no_process_writes_any_of_a_broken_value(name: str) -> None:
    """One of each variable's: all of them are read as above."""
    with service() as running:
        changes = planted(running) | {name: BROKEN[name][0]}
        processes = [running.python(each, *COMMANDS[each], **changes) for each in COMMANDS]
        for process in processes:
            process.start()
        wait_until(lambda: all(map(has_failed_or_waits, processes)), "all have failed or wait")
        assert not PART.search(told(running))


def has_failed_or_waits(process: Process) -> bool:
    return not process.running or "Waiting" in process.output
