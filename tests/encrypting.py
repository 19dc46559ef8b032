"""Clients whose payloads are encrypted, and what of them can be seen from outside."""

import base64
import itertools
from collections.abc import Iterable
from pathlib import Path

from temporalio.client import Client

from connection import Encryption, converter_of

KEYS = {key_id: letter * 32 for key_id, letter in (("old", b"o"), ("new", b"n"))}


def setting(*ids: str) -> str:
    """Return the `PAYLOAD_KEYS` of these keys; `plain` is none."""
    based = {key_id: base64.b64encode(key).decode() for key_id, key in KEYS.items()}
    return ",".join(f"{key_id}:{based[key_id]}" if key_id in based else key_id for key_id in ids)


def with_keys(client: Client, *ids: str) -> Client:
    """Return the client with these keys: the first encrypts, all decrypt."""
    config = client.config()
    keys = {key_id: KEYS[key_id] for key_id in ids}
    config["data_converter"] = converter_of(Encryption(keys, next(iter(ids), None)))
    return Client(**config)


def seen(words: Iterable[str], files: Iterable[Path]) -> set[str]:
    """Return which of the words stand in one of the files, as they are or as base64."""
    contents = [file.read_bytes() for file in files]
    lower = [content.lower() for content in contents]
    return {
        word
        for word in words
        if any(word.lower().encode() in content for content in lower)
        or any(each in content for each in in_base64(word) for content in contents)
    }


def in_base64(word: str) -> list[bytes]:
    """Return what base64 makes of a word's middle, wherever in a text it stands."""
    # A text before it moves it by so many bytes; what its neighbours have a part in is cut off.
    return [
        base64.b64encode(b"\0" * moved + letters.encode() + b"\0\0")[4:-4]
        for moved, letters in itertools.product(range(3), (word, word.lower()))
    ]
