"""The environment as settings."""

import os

import pytest
from pydantic import SecretStr, ValidationError
from temporalio.common import WorkerDeploymentVersion

from settings import Settings, SupplierSettings, load_settings
from shared import KINDS, Kind, SagaPolicy

POLICY = {
    "STEP_DEADLINE_SECONDS": "61",
    "TRY_TIMEOUT_SECONDS": "31",
    "HEARTBEAT_TIMEOUT_SECONDS": "3",
    "RETRY_INTERVAL_SECONDS": "0.25",
    "RETRY_INTERVAL_CAP_SECONDS": "4",
    "UNDO_ATTEMPTS": "7",
    "STUCK_RETRY_INTERVAL_SECONDS": "62",
    "TRIP_DEADLINE_SECONDS": "63",
}

EMBEDDED = SupplierSettings(url=None, token=None, late_seconds=0, calls_per_second=None)

SECRET = "1|not-to-be-shown-0123456789"

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The example of Standard Webhooks' specification."""

UNKNOWN_OPTIONS = ["pgbouncer=true", "ssl=true", "prepare_threshold=5", "autocommit=false"]

BAD_VALUES = {
    **{name: ["0"] for name in (*POLICY, "BOOK_WAIT_SECONDS", "AUDIT_INTERVAL_SECONDS")},
    "WORKER_GRACE_SECONDS": ["0", "nan", "inf", "86401", "x", ""],
    "HOTEL_LATENCY_SECONDS": ["-1", "inf", "3601"],
    "HOTEL_OUTAGE_ATTEMPTS": ["-1", "1.5", "101"],
    "UNDO_ATTEMPTS": ["0", "1001"],
    "PORT": ["0", "65536", "http"],
    "METRICS_PORT": ["0", "65536"],
    "METRICS_HOST": [""],
    "MAX_OPEN_BOOKINGS": ["0", "10001"],
    "MAX_OPEN_BOOKINGS_PER_CALLER": ["0", "10001"],
    "BOOKINGS_PER_SECOND_PER_CALLER": ["0", "0.0001", "1.5", "10001", "nan"],
    "MAX_LONG_POLLS": ["-1", "10001"],
    "ALLOW_ANONYMOUS": ["perhaps"],
    "ALLOWED_HOSTS": ["*", "a, b:80", "http://a", "a..b", "[::1]", "a\u200bb"],
    "WORKFLOW_SANDBOX": ["perhaps"],
    "HOST": ["", "0.0.0.0", "::", "192.0.2.1", "trips.example"],
    "PUBLIC_URL": [
        "",
        "trips.example",
        f"http://{SECRET}@trips.example",
        "https://trips.example?x",
    ],
    "TEMPORAL_UI_URL": ["", "localhost:8233", "javascript:x", "http://x\ny"],
    "DATABASE_URL": [
        *("", "reservations.db", "sqlite+aiosqlite:///x.db", f"mysql://u:{SECRET}@db/x"),
        *("sqlite://", "sqlite:///:memory:", "postgresql+psycopg://u:p@db:port/x"),
        *("postgresql+psycopg2://u:p@db/x", f"postgresql+asyncpg://u:{SECRET}@db/x"),
        *(f"postgres://u:{SECRET}@db/x?{option}" for option in UNKNOWN_OPTIONS),
    ],
    "WORKER_DEPLOYMENT": ["", "a.b", "a:b", "a b", "a\n", "ä", "a" * 201],
    "WORKER_BUILD_ID": ["", "a:b", "a b", "a'b", "a\n", "ä", "a" * 201],
    "LOG_FORMAT": ["xml"],
    "LOG_LEVEL": ["LOUD"],
    "CAR_SUPPLIER_URL": [
        *("", "cars.example", "ftp://cars.example", "http://", "http://cars.example:0"),
        *(f"http://{SECRET}@cars.example", f"http://me:{SECRET}@cars.example/"),
        *("http://cars.example:65536", "http://cars.example:http", "http://cars.example/?key=1"),
        *("http://cars.example/#cars", "http://cars .example", "http://cars..example"),
        *(f"http://{'a' * 64}.example", "http://cars\\.example", "http://cars.example\n"),
    ],
    "WEBHOOK_URL": [
        *("", "shop.example", f"https://{SECRET}@shop.example", f"https://shop.example?{SECRET}"),
        *("http://shop.example", "http://10.0.0.7:3002", "http://localhost.shop.example"),
    ],
    "WEBHOOK_SECRET": [
        *(SECRET, "whsec_", "whsec_" + "A" * 31, "whsec_" + "A" * 33, "whsec_" + "A" * 88),
        *("whsec_" + "A" * 31 + "!", f"{KEY},{KEY}", f"{KEY} {SECRET}"),
    ],
    "SUPPLIERS_URL": ["", "suppliers.example", "http://suppliers.example/?key=1"],
    "HOTEL_SUPPLIER_TOKEN": ["", "a b", f"{SECRET}\n", f"{SECRET}é"],
    "CAR_SUPPLIER_TOKEN": [SECRET],
    "CAR_SUPPLIER_TOKEN_IN_CLEAR": ["perhaps"],
    "FLIGHT_SUPPLIER_LATE_SECONDS": ["-1", "86401"],
    "FLIGHT_SUPPLIER_CALLS_PER_SECOND": ["0", "100001"],
    "FLIGHT_SUPPLIER_CONNECTIONS": ["0", "1001", "2.5"],
}


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the machine's own settings."""
    for name in os.environ:
        if name.lower() in Settings.model_fields:
            monkeypatch.delenv(name)


def test_a_variable_of_make_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPPLIERS", "http")
    assert load_settings().suppliers == dict.fromkeys(KINDS, EMBEDDED)


def test_the_workers_version_is_a_build_of_a_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().worker_version is None
    both = {"WORKER_DEPLOYMENT": "trips", "WORKER_BUILD_ID": "2.1.0+5_rc"}
    for name, value in both.items():
        monkeypatch.setenv(name, value)
    assert load_settings().worker_version == WorkerDeploymentVersion("trips", "2.1.0+5_rc")
    for name, value in both.items():
        monkeypatch.delenv(name)
        with pytest.raises(SystemExit, match="WORKER_DEPLOYMENT, WORKER_BUILD_ID: set both"):
            load_settings()
        monkeypatch.setenv(name, value)


def test_one_service_may_book_all_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPPLIERS_URL", "https://suppliers.example/v1/")
    monkeypatch.setenv("CAR_SUPPLIER_TOKEN", SECRET)
    monkeypatch.setenv("HOTEL_SUPPLIER_URL", "https://hotels.example")
    found = {kind: told.url for kind, told in load_settings().suppliers.items()}
    by_all = {kind: f"https://suppliers.example/v1/{kind}s" for kind in KINDS}
    assert found == by_all | {"hotel": "https://hotels.example"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_supplier_of_each_kind_is_read_from_variables_of_its_own(
    monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    for name, value in {
        "URL": "https://hotels.example:8443/v1",
        "TOKEN": SECRET,
        "LATE_SECONDS": "90",
        "CALLS_PER_SECOND": "0.5",
        "CONNECTIONS": "5",
    }.items():
        monkeypatch.setenv(f"{kind.upper()}_SUPPLIER_{name}", value)
    settings = load_settings()
    told = SupplierSettings(
        url="https://hotels.example:8443/v1",
        token=SecretStr(SECRET),
        late_seconds=90,
        calls_per_second=0.5,
        connections=5,
    )
    assert settings.suppliers == {**dict.fromkeys(KINDS, EMBEDDED), kind: told}
    assert settings.saga_policy.own_queues == (kind,)


PROXY_VARIABLES = {
    variable
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    for variable in (name, name.upper())
}

PROXIES = [
    ("https://hotels.example", {"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
    ("https://hotels.example", {"https_proxy": "proxy:3128"}, "http://proxy:3128"),
    (
        "https://hotels.example",
        {"https_proxy": "http://lower:1", "HTTPS_PROXY": "http://upper:1"},
        "http://lower:1",
    ),
    ("https://hotels.example", {"ALL_PROXY": "http://u:p@proxy:1"}, "http://u:p@proxy:1"),
    ("https://hotels.example", {"https_proxy": "", "all_proxy": "http://all:1"}, "http://all:1"),
    ("https://hotels.example", {"http_proxy": "http://proxy:3128"}, None),
    ("http://hotels.example", {"http_proxy": "http://proxy:3128"}, "http://proxy:3128"),
    # A web server has it from a client's header `Proxy`.
    ("http://hotels.example", {"HTTP_PROXY": "http://proxy:3128"}, None),
    ("http://hotels.example", {"HTTPS_PROXY": "http://proxy:3128"}, None),
    ("http://127.0.0.1:3001/hotels", {"all_proxy": "http://proxy:1"}, "http://proxy:1"),
    *(
        (url, {"ALL_PROXY": "http://proxy:1", "NO_PROXY": without}, None)
        for url, without in [
            ("https://hotels.example", "*"),
            ("https://hotels.example:8443/v1", "localhost,hotels.example"),
            ("https://Hotels.Example.", "hotels.EXAMPLE"),
            ("https://a.hotels.example", "hotels.example"),
            ("https://a.hotels.example", "localhost .hotels.example"),
            ("http://127.0.0.1:3001", "localhost, 127.0.0.1"),
            ("http://10.1.2.3", "10.0.0.0/8"),
        ]
    ),
    *(
        (url, {"ALL_PROXY": "http://proxy:1", "no_proxy": without}, "http://proxy:1")
        for url, without in [
            ("https://nothotels.example", "hotels.example,"),
            ("https://hotels.example", "a.hotels.example"),
            ("http://10.1.2.3", "10.1.2.4,11.0.0.0/8,hotels"),
            ("http://hotels.example", "127.0.0.1,10.0.0.0/8,,"),
        ]
    ),
]
"""Addresses, what the environment has, and the proxy that curl takes."""


@pytest.mark.parametrize(("url", "environment", "proxy"), PROXIES)
def test_a_supplier_is_reached_by_the_proxy_that_curl_takes(
    monkeypatch: pytest.MonkeyPatch, url: str, environment: dict[str, str], proxy: str | None
) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOTEL_SUPPLIER_URL", url)
    found = load_settings().suppliers["hotel"].proxy
    assert (found and found.get_secret_value()) == proxy
    assert load_settings().suppliers["car"].proxy is None


@pytest.mark.parametrize("proxy", ["socks5://proxy:1080", "http://", f"ftp://me:{SECRET}@proxy"])
def test_a_proxy_that_cannot_be_used_ends_the_process_at_its_start(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setenv("HOTEL_SUPPLIER_URL", "https://hotels.example")
    with pytest.raises(SystemExit, match=r"^Bad setting HOTEL_SUPPLIER_URL: .* proxy") as end:
        load_settings()
    assert SECRET not in str(end.value)


@pytest.mark.parametrize(
    "url",
    ["https://shop.example/trips", "http://127.0.0.1:3002", "http://[::1]", "http://localhost/"],
)
@pytest.mark.parametrize("keys", [KEY, f"  {KEY} {'whsec_' + 'A' * 43}=\n"])
def test_a_webhook_has_a_url_and_keys(monkeypatch: pytest.MonkeyPatch, url: str, keys: str) -> None:
    assert load_settings().webhook_secrets == []
    for name, value in {"WEBHOOK_URL": url, "WEBHOOK_SECRET": keys}.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.webhook_url, settings.webhook_secrets) == (url, keys.split())


@pytest.mark.parametrize(
    ("name", "value"), [("WEBHOOK_URL", "https://shop.example"), ("WEBHOOK_SECRET", KEY)]
)
def test_a_webhook_without_its_secret_or_its_url_stops_the_process(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match="WEBHOOK_URL, WEBHOOK_SECRET: set both") as stopped:
        load_settings()
    assert value not in str(stopped.value)


@pytest.mark.parametrize(
    ("proxy", "told"),
    [
        ("http://proxy:3128", "WEBHOOK_URL: must be https"),
        ("socks5://proxy:1", "WEBHOOK_URL: .* proxy"),
    ],
)
def test_an_event_for_this_machine_goes_through_no_proxy_of_another(
    monkeypatch: pytest.MonkeyPatch, proxy: str, told: str
) -> None:
    monkeypatch.setenv("WEBHOOK_URL", "http://localhost:3002")
    monkeypatch.setenv("WEBHOOK_SECRET", KEY)
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(SystemExit, match=told):
        load_settings()
    monkeypatch.setenv("NO_PROXY", "localhost")
    assert load_settings().webhook_proxy is None
    monkeypatch.setenv("WEBHOOK_URL", "https://shop.example")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    assert load_settings().webhook_proxy == "http://proxy:3128"


IN_CLEAR = [
    ("http://hotels.example/v1", {}, True),
    ("http://10.0.0.7:3001", {}, True),
    ("http://simulator:3001/hotels", {}, True),
    ("http://localhost.hotels.example", {}, True),
    ("https://hotels.example", {"HTTPS_PROXY": "http://proxy:3128"}, False),
    ("http://127.0.0.1:3001/hotels", {}, False),
    ("http://[::1]:3001", {}, False),
    ("http://localhost:3001", {}, False),
    ("http://localhost:3001", {"http_proxy": "http://127.0.0.1:3128"}, False),
    # What goes to this machine, too, goes to the proxy first.
    ("http://localhost:3001", {"http_proxy": "http://proxy:3128"}, True),
]
"""Addresses, what the environment has, and whether others may read what is sent."""


@pytest.mark.parametrize(("url", "environment", "in_clear"), IN_CLEAR)
def test_a_token_goes_in_clear_only_where_that_is_meant(
    monkeypatch: pytest.MonkeyPatch, url: str, environment: dict[str, str], in_clear: bool
) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    told = environment | {"HOTEL_SUPPLIER_URL": url}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert load_settings().suppliers["hotel"].url == url
    monkeypatch.setenv("HOTEL_SUPPLIER_TOKEN", SECRET)
    if in_clear:
        named = r"\ABad setting HOTEL_SUPPLIER_TOKEN: .*https://.*_SUPPLIER_TOKEN_IN_CLEAR=1\Z"
        with pytest.raises(SystemExit, match=named) as stopped:
            load_settings()
        assert SECRET not in str(stopped.value)
        monkeypatch.setenv("HOTEL_SUPPLIER_TOKEN_IN_CLEAR", "1")
    assert load_settings().suppliers["hotel"].token == SecretStr(SECRET)


def test_a_kind_that_may_be_called_only_so_often_has_a_queue_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_settings().saga_policy.own_queues == ()
    monkeypatch.setenv("FLIGHT_SUPPLIER_CALLS_PER_SECOND", "10")
    assert load_settings().saga_policy.own_queues == ("flight",)


@pytest.mark.parametrize("name", ["TOKEN", "LATE_SECONDS", "CONNECTIONS"])
def test_what_only_a_service_has_needs_its_url(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"CAR_SUPPLIER_{name}", "60")
    with pytest.raises(SystemExit, match=rf"^Bad setting CAR_SUPPLIER_{name}: .* URL"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD_VALUES.items() for value in values]
)
def test_a_bad_value_stops_the_process_with_one_line_that_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for kind in KINDS:
        monkeypatch.setenv(f"{kind.upper()}_SUPPLIER_URL", "http://supplier.example")
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=rf"\ABad setting {name}: .+\Z") as stopped:
        load_settings()
    assert SECRET not in str(stopped.value)


def test_an_option_of_the_database_url_that_postgresql_does_not_have_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/x?sslmode=require&ssl=true&pgbouncer=true")
    with pytest.raises(SystemExit, match=r"DATABASE_URL: has options .*: pgbouncer, ssl\Z"):
        load_settings()


@pytest.mark.parametrize("beginning", ["postgres", "postgresql", "postgresql+psycopg"])
@pytest.mark.parametrize(
    "rest",
    [
        f"u:p%2B%40{SECRET}@db:6543/x",
        "u@/x?host=a:5432&host=b:5433&target_session_attrs=read-write",
        "/x?host=/run/postgresql&sslmode=require&connect_timeout=3&options=-c%20search_path%3Dtrips",
    ],
)
def test_the_url_of_a_postgresql_is_taken_as_platforms_hand_it_out(
    monkeypatch: pytest.MonkeyPatch, beginning: str, rest: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{beginning}://{rest}")
    assert load_settings().database_url == SecretStr(f"postgresql+psycopg://{rest}")


@pytest.mark.parametrize("protection", ["API_KEYS", "ALLOW_ANONYMOUS"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "trips.example"])
def test_others_than_this_machine_are_served_only_when_that_is_meant(
    monkeypatch: pytest.MonkeyPatch, host: str, protection: str
) -> None:
    monkeypatch.setenv("HOST", host)
    monkeypatch.setenv(protection, "1")
    assert load_settings().host == host


def test_settings_cannot_be_changed() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]  # the test is that this fails


def test_new_trips_start_with_the_policy_that_the_settings_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_settings().saga_policy == SagaPolicy()
    for name, text in POLICY.items():
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
def test_a_supplier_may_be_anywhere_and_is_named_by_host_and_port(
    url: str | None, name: str
) -> None:
    assert SupplierSettings(url=url).name == name
