"""Who may call: API keys.

Bearer tokens as RFC 6750 has them. Without keys everybody is the one anonymous operator, which the
settings allow on loopback only.
"""

import hashlib
import hmac
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import SecretStr

from bookings import Caller
from shared import CALLER_NAME

KEY = re.compile(rf"({CALLER_NAME}):([!-+\--9;-~]{{16,256}})(:operator)?")
"""Name, secret and role. A secret is visible ASCII without comma and colon."""

ANONYMOUS = Caller(name="anonymous", operator=True)


@dataclass(frozen=True)
class CallerKey:
    """A key and its caller. Two keys of one name are the old and the new one during a rotation."""

    caller: Caller
    secret: str = field(repr=False)


def keys_of(api_keys: SecretStr) -> list[CallerKey]:
    """Return the keys in the setting `API_KEYS`.

    Each is `name:secret` or `name:secret:operator`; they are separated by commas. Raises
    `SystemExit` with one line that names the setting when a key is bad.
    """
    entries = [entry.strip() for entry in api_keys.get_secret_value().split(",")]
    keys = []
    for number, entry in enumerate(filter(None, entries), start=1):
        match = KEY.fullmatch(entry)
        if match is None:
            # The value is not shown: it is a secret.
            sys.exit(
                f"Bad setting API_KEYS: key {number} must be name:secret or name:secret:operator, "
                "with a secret of 16 characters or more"
            )
        name, secret, operator = match.groups()
        keys.append(CallerKey(Caller(name, operator is not None), secret))
    return keys


def authenticate(authorization: str | None, keys: Sequence[CallerKey]) -> Caller | None:
    """Return the caller that an `Authorization` header proves, `None` if it proves none."""
    if not keys:
        return ANONYMOUS
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    return _whose(token.strip(), keys, [key.secret for key in keys])


def authenticate_cookie(token: str | None, keys: Sequence[CallerKey]) -> Caller | None:
    """Return the caller that the codec server's cookie proves, `None` if it proves none."""
    return _whose(token or "", keys, [codec_token(key.secret) for key in keys])


def codec_token(secret: str) -> str:
    """Return what the codec server's cookie holds for a key. It is good there and nowhere else."""
    return hmac.new(secret.encode(), b"codec", hashlib.sha256).hexdigest()


def _whose(presented: str, keys: Sequence[CallerKey], expected: Sequence[str]) -> Caller | None:
    # Every key is compared, in constant time, so that the time taken tells nothing.
    matches = [hmac.compare_digest(presented.encode(), each.encode()) for each in expected]
    return next((key.caller for key, match in zip(keys, matches, strict=True) if match), None)
