"""Who may call: API keys.

Bearer tokens as RFC 6750 has them. Without keys everybody is the one anonymous operator, which the
settings allow on loopback only.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from bookings import Caller

ANONYMOUS = Caller(name="anonymous", operator=True)


@dataclass(frozen=True)
class CallerKey:
    """A key and who holds it. Two keys of one name are the old and the new during a rotation."""

    caller: Caller
    secret: str

    def __repr__(self) -> str:
        """Leave the secret out of logs and tracebacks."""
        return f"CallerKey({self.caller})"


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
    """Return what the codec server's cookie has of a key: it is good there, and nowhere else."""
    return hmac.new(secret.encode(), b"codec", hashlib.sha256).hexdigest()


def _whose(presented: str, keys: Sequence[CallerKey], expected: Sequence[str]) -> Caller | None:
    # Every key is compared, in constant time, so that the time taken tells nothing.
    matches = [hmac.compare_digest(presented.encode(), each.encode()) for each in expected]
    return next((key.caller for key, match in zip(keys, matches, strict=True) if match), None)
