"""The environment as one typed, validated, frozen object.

Nothing else reads the environment. Temporal's own variables (`TEMPORAL_ADDRESS`, `TEMPORAL_TLS_*`,
`TEMPORAL_PROFILE`, `temporal.toml`) are read by `temporalio.envconfig`:
https://docs.temporal.io/develop/environment-configuration
"""

import base64
import binascii
import ipaddress
import re
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    Field,
    PrivateAttr,
    SecretBytes,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from temporalio.common import WorkerDeploymentVersion
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.service import TLSConfig

from shared import KINDS, Kind, SagaPolicy

API_KEY = re.compile(r"([A-Za-z0-9_-]{1,64}):([!-+\--9;-~]{16,256})(:operator)?")
"""Name, secret and role of an API key. A secret is visible ASCII without comma and colon."""

PAYLOAD_KEY = re.compile(r"([A-Za-z0-9._-]{1,64}):(\S+)")
"""Id and secret of a key of what goes to Temporal."""
PAYLOAD_KEY_BYTES = 32
IN_CLEAR = "plain"
"""In the place of the key that encrypts: nothing is encrypted, the keys after it only decrypt."""

ADDRESS = re.compile(r"(?:[^\s:/]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")
MAX_PORT = 65_535

BASE_URL = re.compile(
    r"https?://(?P<host>[^\s/?#@:\[\]\\]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?(?:/[^\s?#]*)?"
)
"""Where a supplier is: no credentials, which would be logged; no query, which a path follows."""

BEARER_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750, 2.1."""

DEPLOYMENT = r"^[A-Za-z0-9_-]{1,200}$"
BUILD_ID = r"^[A-Za-z0-9_.+-]{1,200}$"
"""Temporal allows a deployment's name no `.` and `:`. What else it allows in both would have to be
quoted in commands and queries."""

DATABASE_DRIVERS = ("sqlite", "postgresql+psycopg")
"""What a database URL may begin with."""

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class ApiKey(NamedTuple):
    """An API key: who holds it, the secret, and whether it is an operator's."""

    name: str
    secret: SecretStr
    operator: bool


class PayloadKeys(NamedTuple):
    """The keys of what goes to Temporal: all of them decrypt, and one encrypts, or none."""

    encrypting: str | None = None
    """The id of that one."""
    secrets: tuple[tuple[str, SecretBytes], ...] = ()
    """Each with its id."""

    @property
    def revealed(self) -> dict[str, bytes]:
        """The keys themselves, by their ids."""
        return {key_id: secret.get_secret_value() for key_id, secret in self.secrets}


class BadSetting(Exception):
    """A value that is none of its variable's. The text is one line that names the variable."""

    def __init__(self, error: ValidationError, prefix: str = "") -> None:
        first = error.errors(include_url=False, include_input=False)[0]
        # The input is not repeated: it may be a secret.
        variable, *place = [str(name).upper() for name in first["loc"]] or [""]
        names = filter(None, [prefix + variable, *place])
        super().__init__(": ".join([*names, first["msg"].removeprefix("Value error, ")]))


class SupplierSettings(BaseSettings):
    """Who books one kind. Without a URL it is the embedded supplier."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    url: str | None = None
    token: SecretStr | None = None
    late_seconds: float = Field(0.0, ge=0, le=86_400, allow_inf_nan=False)
    calls_per_second: float | None = Field(None, gt=0, le=100_000, allow_inf_nan=False)

    @classmethod
    def of(cls, kind: Kind) -> Self:
        """Read those of a kind. Raises `BadSetting`."""
        prefix = f"{kind.upper()}_SUPPLIER_"
        try:
            return cls(_env_prefix=prefix)
        except ValidationError as error:
            raise BadSetting(error, prefix) from None

    @field_validator("url")
    @classmethod
    def _is_base_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        match = BASE_URL.fullmatch(value)
        try:
            if match and int(match["port"] or 1) in range(1, MAX_PORT + 1):
                match["host"].encode("idna")
                return value
        except UnicodeError:
            pass
        raise ValueError("must be http://host:port/path or https://…, without credentials")

    @field_validator("token")
    @classmethod
    def _may_be_sent(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not BEARER_TOKEN.fullmatch(value.get_secret_value()):
            raise ValueError("may have letters, digits and -._~+/ only, and = at its end")
        return value

    @field_validator("token", "late_seconds")
    @classmethod
    def _is_of_a_service(cls, value: Any, info: ValidationInfo) -> Any:
        if value and "url" in info.data and info.data["url"] is None:
            raise ValueError("is of a supplier that is a service: give its URL, too")
        return value

    @property
    def name(self) -> str:
        """Who books, in a word: `embedded`, or host and port of the service."""
        match = BASE_URL.fullmatch(self.url or "")
        if match is None:
            return "embedded"
        default = 443 if match[0].startswith("https") else 80
        return f"{match['host'].lower()}:{match['port'] or default}"

    @property
    def has_own_queue(self) -> bool:
        """Whether the kind's activities have a task queue of their own."""
        return self.url is not None or self.calls_per_second is not None


class Settings(BaseSettings):
    """Every setting of the service, each with a default that runs on a laptop. Times in seconds."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(3000, ge=1, le=MAX_PORT)
    book_wait_seconds: Seconds = 60.0
    api_keys: Annotated[tuple[ApiKey, ...], NoDecode] = ()
    allow_anonymous: bool = False
    max_open_bookings: int = Field(1_000, ge=1, le=10_000)
    max_open_bookings_per_caller: int | None = Field(None, ge=1, le=10_000)
    bookings_per_second_per_caller: float | None = Field(None, ge=1 / 3_600, le=10_000)
    max_long_polls: int = Field(300, ge=0, le=10_000)
    temporal_ui_url: str = Field("http://localhost:8233", pattern=r"^https?://[^\s/]+.*$")
    page_examples: Literal["embedded", "simulator", "none"] = "embedded"

    payload_keys: Annotated[PayloadKeys, NoDecode] = PayloadKeys()

    database_url: str = "sqlite:///reservations.db"

    # Read from variables of their own, `CAR_SUPPLIER_URL` and so on, and from no `SUPPLIERS`.
    _suppliers: Mapping[Kind, SupplierSettings] = PrivateAttr(
        default_factory=lambda: {kind: SupplierSettings.of(kind) for kind in KINDS}
    )

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
    def _known_database(cls, value: str) -> str:
        try:
            url = make_url(value)
        except (ArgumentError, ValueError):
            raise ValueError("is not a database URL") from None
        if url.drivername not in DATABASE_DRIVERS:
            raise ValueError(f"must begin with one of {', '.join(DATABASE_DRIVERS)}")
        if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
            raise ValueError("must name a file: reservations in memory do not last")
        return value

    @field_validator("bookings_per_second_per_caller")
    @classmethod
    def _whole_or_slow(cls, value: float | None) -> float | None:
        if value is not None and value > 1 and not value.is_integer():
            raise ValueError("must be a whole number, or less than 1")
        return value

    @field_validator("api_keys", mode="before")
    @classmethod
    def _parse_api_keys(cls, value: object) -> object:
        """Read `name:secret` and `name:secret:operator`, separated by commas."""
        if not isinstance(value, str):
            return value
        keys = []
        for number, entry in enumerate(filter(None, map(str.strip, value.split(","))), start=1):
            match = API_KEY.fullmatch(entry)
            if match is None:
                raise ValueError(
                    f"key {number} must be name:secret or name:secret:operator, "
                    "with a secret of 16 characters or more"
                )
            name, secret, operator = match.groups()
            keys.append(ApiKey(name, SecretStr(secret), operator is not None))
        return tuple(keys)

    @field_validator("payload_keys", mode="before")
    @classmethod
    def _parse_payload_keys(cls, value: object) -> object:
        """Read `id:base64`, separated by commas."""
        if not isinstance(value, str):
            return value
        entries = [*filter(None, map(str.strip, value.split(",")))]
        in_clear = entries[:1] == [IN_CLEAR]
        secrets: dict[str, SecretBytes] = {}
        for number, entry in enumerate(entries[in_clear:], start=1):
            match = PAYLOAD_KEY.fullmatch(entry)
            if match is None:
                raise ValueError(f"key {number} must be id:base64")
            key_id, secret = match[1], _unbased(match[2])
            if len(secret) != PAYLOAD_KEY_BYTES:
                raise ValueError(
                    f"key {number}, {key_id}, must be {PAYLOAD_KEY_BYTES} bytes in base64"
                )
            if key_id in secrets:
                raise ValueError(f"key {number}, {key_id}, has the id of another one")
            secrets[key_id] = SecretBytes(secret)
        return PayloadKeys(None if in_clear else next(iter(secrets), None), tuple(secrets.items()))

    @model_validator(mode="after")
    def _anonymous_on_loopback_only(self) -> Self:
        if not (self.api_keys or self.allow_anonymous or _is_loopback(self.host)):
            raise ValueError(
                f"HOST: without API_KEYS the service binds to loopback only, not to {self.host}; "
                "set API_KEYS, or ALLOW_ANONYMOUS=1 to serve anyone"
            )
        return self

    @model_validator(mode="after")
    def _deployment_with_build(self) -> Self:
        if self.worker_deployment is not None and self.worker_build_id is None:
            raise ValueError("WORKER_BUILD_ID: is missing, and WORKER_DEPLOYMENT is set")
        if self.worker_build_id is not None and self.worker_deployment is None:
            raise ValueError("WORKER_DEPLOYMENT: is missing, and WORKER_BUILD_ID is set")
        return self

    @property
    def worker_version(self) -> WorkerDeploymentVersion | None:
        """Which version of which deployment the worker is; `None`: versions are not told apart."""
        if self.worker_deployment is None or self.worker_build_id is None:
            return None
        return WorkerDeploymentVersion(self.worker_deployment, self.worker_build_id)

    @property
    def most_open_bookings_per_caller(self) -> int | None:
        """How many requests of one caller may wait at once; `None`: there is no other caller.

        Half, unless it is set: one that takes all it may leaves as much to the others.
        """
        if self.max_open_bookings_per_caller is not None:
            return self.max_open_bookings_per_caller
        callers = {key.name for key in self.api_keys}
        return max(1, self.max_open_bookings // 2) if len(callers) > 1 else None

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
            own_queues=tuple(kind for kind in KINDS if self.suppliers[kind].has_own_queue),
        )


def _unbased(text: str) -> bytes:
    """Return the bytes that a base64 text stands for; none if it is no such text."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


def load_settings() -> Settings:
    """Read the environment.

    Raises `SystemExit` with one line that names the variable when a value is bad.
    """
    try:
        return Settings()
    except ValidationError as error:
        sys.exit(f"Bad setting {BadSetting(error)}")
    except BadSetting as error:
        sys.exit(f"Bad setting {error}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def temporal_config() -> ClientConnectConfig:
    """Return where Temporal is and how to connect, as Temporal's own variables say.

    Raises `SystemExit` with one line when they cannot be read.
    """
    try:
        config = ClientConfig.load_client_connect_config()
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f"Bad Temporal configuration (TEMPORAL_*): {' '.join(str(error).split())}")
    address = config.setdefault("target_host", "localhost:7233")
    match = ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match[1]) <= MAX_PORT:
        sys.exit(f"Bad Temporal configuration (TEMPORAL_ADDRESS): {address!r} is not host:port")
    tls = config.get("tls")
    if isinstance(tls, TLSConfig) and bool(tls.client_cert) != bool(tls.client_private_key):
        variables = "TEMPORAL_TLS_CLIENT_CERT_PATH, TEMPORAL_TLS_CLIENT_KEY_PATH"
        sys.exit(f"Bad Temporal configuration ({variables}): one is nothing without the other")
    return config
