"""The keys that encrypt what goes to Temporal, read from the setting `PAYLOAD_KEYS`."""

import base64
import binascii
import re
import sys
from typing import NoReturn

from pydantic import SecretStr

from connection.encryption import Encryption

KEY = re.compile(r"([A-Za-z0-9._-]{1,64}):(\S+)")
"""The id and the secret."""
KEY_BYTES = 32
IN_CLEAR = "plain"
"""In the first key's place: nothing is encrypted, and the keys after it only decrypt."""


def encryption_of(payload_keys: SecretStr) -> Encryption:
    """Return what encrypts by the first key of `payload_keys` and decrypts by all of them.

    Each key is `id:base64`; they are separated by commas. Raises `SystemExit` with one line that
    names the setting when a key is bad.
    """
    entries = [entry.strip() for entry in payload_keys.get_secret_value().split(",")]
    entries = [entry for entry in entries if entry]
    in_clear = entries[:1] == [IN_CLEAR]
    keys: dict[str, bytes] = {}
    for number, entry in enumerate(entries[in_clear:], start=1):
        match = KEY.fullmatch(entry)
        if match is None:
            _refuse(f"key {number} must be id:base64")
        key_id, key = match[1], _decoded(match[2])
        if len(key) != KEY_BYTES:
            _refuse(f"key {number}, {key_id}, must be {KEY_BYTES} bytes in base64")
        if key_id in keys:
            _refuse(f"key {number}, {key_id}, has the id of another one")
        keys[key_id] = key
    return Encryption(keys, None if in_clear else next(iter(keys), None))


def _refuse(why: str) -> NoReturn:
    # The value is not shown: it is a secret.
    sys.exit(f"Bad setting PAYLOAD_KEYS: {why}")


def _decoded(text: str) -> bytes:
    """Return the bytes that a base64 text stands for; no bytes if it is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
