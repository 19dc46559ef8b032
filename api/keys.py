"""Who may call: API keys.

Bearer tokens as RFC 6750 has them. Without keys everybody is the one anonymous operator, which the
settings allow on loopback only.
"""

import hashlib
import hmac
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from itsdangerous import BadSignature, Signer
from pydantic import SecretStr

from bookings import Caller
from shared import CALLER_NAME, SAMPLES

KEY = re.compile(rf"({CALLER_NAME}):([!-+\--9;-~]{{16,256}})(?::(operator|metrics))?")
"""Name, secret and role. A secret is visible ASCII without comma and colon."""

CODEC_SECONDS = 12 * 60 * 60
"""How long the codec server's cookie is good."""

ANONYMOUS = Caller(name="anonymous", operator=True)


@dataclass(frozen=True)
class CallerKey:
    """A key and its caller. Two keys of one name are the old and the new one during a rotation."""

    caller: Caller
    secret: str = field(repr=False)


def keys_of(api_keys: SecretStr) -> list[CallerKey]:
    """Return the keys in the setting `API_KEYS`.

    Each is `name:secret`, perhaps with `:operator` or `:metrics`; they are separated by commas.
    Raises `SystemExit` with one line that names the setting when a key is bad.
    """
    entries = [entry.strip() for entry in api_keys.get_secret_value().split(",")]
    keys = []
    for number, entry in enumerate(filter(None, entries), start=1):
        match = KEY.fullmatch(entry)
        if match is None:
            # The value is not shown: it is a secret.
            sys.exit(
                f"Bad setting API_KEYS: key {number} must be name:secret, name:secret:operator "
                "or name:secret:metrics, with a secret of 16 characters or more"
            )
        name, secret, role = match.groups()
        if secret in SAMPLES:
            sys.exit(f"Bad setting API_KEYS: key {number} is a sample that everybody knows")
        keys.append(CallerKey(Caller(name, role == "operator", role == "metrics"), secret))
    return keys


def owners_of(keys: Sequence[CallerKey]) -> set[str]:
    """Return the names of those who may have trips."""
    return {key.caller.name for key in keys if not key.caller.metrics_only} or {ANONYMOUS.name}


def authenticate(authorization: str | None, keys: Sequence[CallerKey]) -> Caller | None:
    """Return the caller that an `Authorization` header proves, `None` if it proves none."""
    if not keys:
        return ANONYMOUS
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    # Every key is compared, in constant time, so that the time taken tells nothing.
    presented = token.strip().encode()
    matches = [hmac.compare_digest(presented, key.secret.encode()) for key in keys]
    return next((key.caller for key, match in zip(keys, matches, strict=True) if match), None)


def authenticate_cookie(token: str | None, keys: Sequence[CallerKey]) -> Caller | None:
    """Return the caller that the codec server's cookie proves, `None` if it proves none."""
    return next((key.caller for key in keys if _is_of(key.secret, token or "")), None)


def codec_token(secret: str) -> str:
    """Return what the codec server's cookie holds for a key: a signed end.

    It is good at the codec server and nowhere else, until its end or the key's.
    """
    return _signer(secret).sign(str(time.time() + CODEC_SECONDS)).decode()


def _is_of(secret: str, token: str) -> bool:
    try:
        return time.time() < float(_signer(secret).unsign(token))
    except BadSignature:
        return False


def _signer(secret: str) -> Signer:
    return Signer(secret, salt="codec", key_derivation="hmac", digest_method=hashlib.sha256)
