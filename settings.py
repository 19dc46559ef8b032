"""The environment as one typed, validated, frozen object. `docs/configuration.md` explains it.

Nothing else reads the environment, except for the variables of Temporal (`connection/`) and of
OpenTelemetry (`telemetry/`). The form of a key is checked where the keys are used.
"""

import contextlib
import ipaddress
import os
import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from psycopg.pq import Conninfo
from pydantic import (
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from temporalio.common import WorkerDeploymentVersion
from yarl import URL

from shared import KINDS, SAMPLES, Kind, SagaPolicy, Seconds, is_loopback

MAX_PORT = 65_535

BASE_URL = re.compile(
    r"https?://(?P<host>[^\s/?#@:\[\]\\]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?(?:/[^\s?#]*)?"
)
"""Where a supplier is, or this service. It has no credentials, which would be logged, and no query,
because a path is added to it."""

PROXY = re.compile(r"https?://[^\s/?#]+/?$")
"""aiohttp has no SOCKS."""

NAMES = re.compile(r"[\s,]+")
"""What stands between the names in `NO_PROXY` and `ALLOWED_HOSTS`."""

HOST_NAME = re.compile(r"[^\s/?#@:\[\]\\*]+")
"""A name of a host, without scheme and port."""

BEARER_TOKEN = re.compile(r"[!-~]+")
"""What a header can carry. RFC 6750 (2.1) allows less; real tokens have more, such as `1|abc`."""

WEBHOOK_KEY = re.compile(
    r"whsec_([A-Za-z0-9+/]{4}){8,21}([A-Za-z0-9+/]{2}={0,2}|[A-Za-z0-9+/]{3}=?)?"
)
"""As the specification of Standard Webhooks has it: the base64 of 24 to 64 bytes."""

DEPLOYMENT = r"^[A-Za-z0-9_-]{1,200}$"
BUILD_ID = r"^[A-Za-z0-9_.+-]{1,200}$"
"""Temporal allows neither `.` nor `:` in a deployment's name. It allows further characters, but
commands and queries would have to quote these."""

POSTGRESQL = "postgresql+psycopg"
"""What the URL of a PostgreSQL begins with, for SQLAlchemy. Platforms name no driver."""

POSTGRESQL_OPTIONS = {option.keyword.decode() for option in Conninfo.get_defaults()}
"""What libpq takes. psycopg takes more, but not as text, which is all that a URL has."""


class SupplierSettings(BaseSettings):
    """Who books one kind. Without a URL it is the embedded supplier."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    url: str | None = None
    token_in_clear: bool = False
    token: SecretStr | None = None
    late_seconds: float = Field(0.0, ge=0, le=86_400, allow_inf_nan=False)
    calls_per_second: float | None = Field(None, gt=0, le=100_000, allow_inf_nan=False)
    connections: int | None = Field(None, ge=1, le=1_000)

    @classmethod
    def of(cls, kind: Kind, base: str | None) -> Self:
        """Read the settings of a kind; `base`: where the service is that books all kinds.

        Raises `SystemExit` as `load_settings` does.
        """
        prefix = f"{kind.upper()}_SUPPLIER_"
        told: dict[str, Any] = {}
        if base is not None and f"{prefix}URL" not in os.environ:
            told["url"] = f"{base}/{kind}s"
        try:
            return cls(_env_prefix=prefix, **told)
        except ValidationError as error:
            raise _bad(error, prefix) from None

    @field_validator("url")
    @classmethod
    def _is_base_url(cls, value: str | None) -> str | None:
        return _within_reach(value)

    @field_validator("token")
    @classmethod
    def _may_be_sent(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None:
            return None
        if not BEARER_TOKEN.fullmatch(value.get_secret_value()):
            raise ValueError("may have visible ASCII characters only")
        if value.get_secret_value() in SAMPLES:
            raise ValueError("is a sample that everybody knows")
        if not info.data.get("token_in_clear") and _is_in_clear(URL(info.data.get("url") or "")):
            raise ValueError(
                "would go in clear to an http:// URL beyond this machine; use https://, "
                "or set …_SUPPLIER_TOKEN_IN_CLEAR=1"
            )
        return value

    @field_validator("token", "late_seconds", "connections")
    @classmethod
    def _is_of_a_service(cls, value: Any, info: ValidationInfo) -> Any:
        if value and "url" in info.data and info.data["url"] is None:
            raise ValueError("is only for a supplier that is a service: set its URL, too")
        return value

    @property
    def proxy(self) -> SecretStr | None:
        """The proxy on the way to the service. It may have a password in it."""
        proxy = None if self.url is None else _proxy_of(URL(self.url))
        return None if proxy is None else SecretStr(proxy)

    @property
    def name(self) -> str:
        """A short name of the supplier: `embedded`, or host and port of the service."""
        url = URL(self.url or "")
        return f"{url.host_subcomponent}:{url.port}" if url.host else "embedded"


class Settings(BaseSettings):
    """Every setting of the service, each with a default that runs on a laptop. Times in seconds."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(3000, ge=1, le=MAX_PORT)
    book_wait_seconds: Seconds = 25.0
    api_keys: SecretStr = SecretStr("")
    allow_anonymous: bool = False
    allowed_hosts: str = ""
    max_open_bookings: int = Field(1_000, ge=1, le=10_000)
    max_open_bookings_per_caller: int | None = Field(None, ge=1, le=10_000)
    bookings_per_second_per_caller: float | None = Field(None, ge=1 / 3_600, le=10_000)
    max_long_polls: int = Field(300, ge=0, le=10_000)
    public_url: str | None = None
    temporal_ui_url: str = Field("http://localhost:8233", pattern=r"^https?://[^\s/]+.*$")
    page_examples: Literal["embedded", "simulator", "none"] = "embedded"

    payload_keys: SecretStr = SecretStr("")

    database_url: SecretStr = SecretStr("sqlite:///reservations.db")

    suppliers_url: str | None = None
    # Read from `CAR_SUPPLIER_URL` and so on; the variable `SUPPLIERS` belongs to the Makefile.
    _suppliers: Mapping[Kind, SupplierSettings] = PrivateAttr()

    webhook_url: str | None = None
    webhook_secret: SecretStr = SecretStr("")

    hotel_latency_seconds: float = Field(1.0, ge=0, le=3_600, allow_inf_nan=False)
    hotel_outage_attempts: int = Field(1, ge=0, le=100)

    step_deadline_seconds: Seconds = 600.0
    try_timeout_seconds: Seconds = 120.0
    heartbeat_timeout_seconds: Seconds = 10.0
    retry_interval_seconds: Seconds = 1.0
    retry_interval_cap_seconds: Seconds = 10.0
    undo_attempts: int = Field(10, ge=1, le=1_000)
    stuck_retry_interval_seconds: Seconds = 3_600.0
    trip_deadline_seconds: Seconds = 3_600.0

    worker_grace_seconds: Seconds = 10.0
    metrics_host: str = Field("127.0.0.1", min_length=1)
    metrics_port: int | None = Field(None, ge=1, le=MAX_PORT)
    workflow_sandbox: bool = False
    worker_deployment: str | None = Field(None, pattern=DEPLOYMENT)
    worker_build_id: str | None = Field(None, pattern=BUILD_ID)

    audit_interval_seconds: Seconds | None = None

    log_format: Literal["text", "json"] = "text"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, secret: SecretStr) -> SecretStr:
        value = secret.get_secret_value()
        try:
            url = make_url(value)
        except (ArgumentError, ValueError):
            raise ValueError("is not a database URL") from None
        if url.drivername == "sqlite":
            if url.database in (None, "", ":memory:"):
                raise ValueError("must name a file: reservations in memory do not last")
        elif url.drivername in ("postgres", "postgresql", POSTGRESQL):
            value = POSTGRESQL + value.removeprefix(url.drivername)
            # What is after the first one would be the host, which errors name.
            if value.count("@") > 1:
                raise ValueError("has more than one @: write %40 for each in a name or a password")
            if unknown := sorted(url.query.keys() - POSTGRESQL_OPTIONS):
                # They may be the rest of a password with an &.
                named = "" if "password=" in value else f": {', '.join(unknown)}"
                raise ValueError(f"has options that PostgreSQL does not have{named}")
        else:
            raise ValueError("must begin with sqlite: or postgresql:")
        try:
            checked = make_url(value)
            checked.get_dialect()().create_connect_args(checked)
        except (ArgumentError, ValueError):
            raise ValueError("is not a database URL") from None
        return SecretStr(value)

    @field_validator("public_url", "suppliers_url")
    @classmethod
    def _is_base_url(cls, value: str | None) -> str | None:
        return (_base_url(value) or "").rstrip("/") or None

    @field_validator("webhook_url")
    @classmethod
    def _is_unread_by_others(cls, value: str | None) -> str | None:
        if _within_reach(value) and _is_in_clear(URL(value or "")):
            raise ValueError("must be https://…, or http:// to this machine")
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _are_keys(cls, value: SecretStr) -> SecretStr:
        if all(map(WEBHOOK_KEY.fullmatch, value.get_secret_value().split())):
            return value
        raise ValueError("must be whsec_ and 24 to 64 bytes in base64; several with blanks between")

    @field_validator("allowed_hosts")
    @classmethod
    def _are_names(cls, value: str) -> str:
        names = filter(None, NAMES.split(value))
        if all(HOST_NAME.fullmatch(name) and _is_in_dns(name) for name in names):
            return value
        raise ValueError("must be names of hosts, without ports, separated by commas")

    @field_validator("bookings_per_second_per_caller")
    @classmethod
    def _whole_or_slow(cls, value: float | None) -> float | None:
        if value is not None and value > 1 and not value.is_integer():
            raise ValueError("must be a whole number, or less than 1")
        return value

    @model_validator(mode="after")
    def _anonymous_on_loopback_only(self) -> Self:
        has_keys = re.search(r"[^\s,]", self.api_keys.get_secret_value())
        if not (has_keys or self.allow_anonymous or is_loopback(self.host)):
            raise ValueError(
                f"HOST: without API_KEYS the service binds to loopback only, not to {self.host}; "
                "set API_KEYS, or ALLOW_ANONYMOUS=1 to serve anyone"
            )
        return self

    @model_validator(mode="after")
    def _deployment_with_build(self) -> Self:
        if (self.worker_deployment is None) != (self.worker_build_id is None):
            raise ValueError("WORKER_DEPLOYMENT, WORKER_BUILD_ID: set both of them, or neither")
        return self

    @model_validator(mode="after")
    def _webhook_with_secret(self) -> Self:
        if (self.webhook_url is None) != (not self.webhook_secrets):
            raise ValueError("WEBHOOK_URL, WEBHOOK_SECRET: set both of them, or neither")
        return self

    @property
    def webhook_secrets(self) -> list[str]:
        """The keys that sign what goes to the webhook."""
        return self.webhook_secret.get_secret_value().split()

    @property
    def webhook_proxy(self) -> str | None:
        """The proxy on the way to the webhook. It may have a password in it."""
        return None if self.webhook_url is None else _proxy_of(URL(self.webhook_url))

    @property
    def worker_version(self) -> WorkerDeploymentVersion | None:
        """The worker's version within its deployment; `None`: the worker has no version."""
        if self.worker_deployment is None or self.worker_build_id is None:
            return None
        return WorkerDeploymentVersion(self.worker_deployment, self.worker_build_id)

    @property
    def host_names(self) -> frozenset[str]:
        """The names under which the service is asked, besides those of this machine."""
        told = [f"http://{name}" for name in NAMES.split(self.allowed_hosts) if name]
        return frozenset(URL(url).raw_host or "" for url in (*told, self.public_url) if url)

    def model_post_init(self, _context: Any) -> None:
        """Read who books each kind."""
        self._suppliers = {kind: SupplierSettings.of(kind, self.suppliers_url) for kind in KINDS}

    @property
    def suppliers(self) -> Mapping[Kind, SupplierSettings]:
        """Who books each kind."""
        return self._suppliers

    @property
    def calls_per_second(self) -> Mapping[Kind, float | None]:
        """How many calls the suppliers of each kind take in a second; `None`: any number."""
        return {kind: self.suppliers[kind].calls_per_second for kind in KINDS}

    @property
    def saga_policy(self) -> SagaPolicy:
        """The policy that new trips start with."""
        return SagaPolicy(
            step_deadline=self.step_deadline_seconds,
            try_timeout=self.try_timeout_seconds,
            heartbeat_timeout=self.heartbeat_timeout_seconds,
            retry_interval=self.retry_interval_seconds,
            retry_interval_cap=max(self.retry_interval_seconds, self.retry_interval_cap_seconds),
            undo_attempts=self.undo_attempts,
            stuck_retry_interval=self.stuck_retry_interval_seconds,
            trip_deadline=self.trip_deadline_seconds,
            own_queues=tuple(
                kind for kind, told in self.suppliers.items() if told.url or told.calls_per_second
            ),
        )


def load_settings() -> Settings:
    """Read the environment.

    Raises `SystemExit` with one line that names the variable when a value is bad.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise _bad(error) from None


def _bad(error: ValidationError, prefix: str = "") -> SystemExit:
    """Return the end of the process, with one line that names the bad variable."""
    first = error.errors(include_url=False, include_input=False)[0]
    # The value is not shown: it may be a secret.
    variable, *place = [str(name).upper() for name in first["loc"]] or [""]
    names = filter(None, [prefix + variable, *place])
    message = first["msg"].removeprefix("Value error, ")
    return SystemExit(f"Bad setting {': '.join([*names, message])}")


def _base_url(value: str | None) -> str | None:
    if value is None:
        return None
    match = BASE_URL.fullmatch(value)
    if match and int(match["port"] or 1) in range(1, MAX_PORT + 1) and _is_in_dns(match["host"]):
        return value
    raise ValueError("must be http://host:port/path or https://…, without credentials")


def _within_reach(value: str | None) -> str | None:
    """Return a base URL, unless the proxy on the way to it cannot be used."""
    if not (_base_url(value) and (proxy := _proxy_of(URL(value or "")))):
        return value
    with contextlib.suppress(ValueError):
        if PROXY.match(proxy) and URL(proxy).host:
            return value
    raise ValueError("is behind a proxy (HTTPS_PROXY, ALL_PROXY) that is no http://host:port")


def _is_in_dns(host: str) -> bool:
    """Tell whether a host may be looked up: none of its labels is empty, too long or no text."""
    try:
        return bool(host.encode("idna") and URL(f"http://{host}").raw_host)
    except ValueError:
        return False


def _is_in_clear(url: URL) -> bool:
    """Tell whether what is sent to an address may be read beyond this machine."""
    hosts = filter(None, [url.host, URL(_proxy_of(url) or "").host])
    return url.scheme == "http" and not all(map(is_loopback, hosts))


def _proxy_of(url: URL) -> str | None:
    """Return the proxy that the environment has for an address, as curl reads it.

    https://everything.curl.dev/usingcurl/proxies/env.html
    """
    own = ("https_proxy", "HTTPS_PROXY") if url.scheme == "https" else ("http_proxy",)
    proxy, without = _first_of(*own, "all_proxy", "ALL_PROXY"), _first_of("no_proxy", "NO_PROXY")
    host = (url.host or "").rstrip(".")
    if not proxy or without == "*" or any(_is_in(host, each) for each in NAMES.split(without)):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _first_of(*names: str) -> str:
    return next(filter(None, map(os.environ.get, names)), "")


def _is_in(host: str, name: str) -> bool:
    """Tell whether a name in `NO_PROXY` is a host's own, its domain's, its address or network."""
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    except ValueError:
        return f".{host}".endswith(f".{name.strip('.').lower() or '.'}")
