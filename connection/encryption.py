"""Encrypts what goes to Temporal, and decrypts what comes from it: AES-256-GCM, by named keys.

Each payload is encrypted by itself, with its metadata, under a nonce of its own. The id of its key
stands beside it. A payload in clear stays as it is: trips that started before there were keys have
such payloads, and so have signals and inputs by Temporal's CLI.
https://docs.temporal.io/payload-codec
"""

import base64
import dataclasses
import os
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    PayloadCodec,
    PayloadConverter,
)
from temporalio.exceptions import ApplicationError

from shared import BookVacationInput, cut, input_from

ENCODING = b"binary/encrypted"
"""The metadata of an encrypted payload. Temporal's own samples use this name and the next one. https://github.com/temporalio/samples-python/tree/main/encryption"""

KEY_ID = "encryption-key-id"

UNREADABLE = "binary/unreadable"
"""The encoding of what stands for a payload that cannot be decrypted. It says why."""

NONCE_BYTES = 12
"""NIST SP 800-38D, 8.2.2. With random nonces of this length a key is good for 2^32 payloads."""


KEY = re.compile(r"([A-Za-z0-9._-]{1,64}):([A-Za-z0-9+/]{43}=)")
"""The id of a key in `PAYLOAD_KEYS`, and its 32 bytes in base64."""
IN_CLEAR = "plain"
"""In the first key's place: nothing is encrypted, and the keys after it only decrypt."""


class UnreadablePayload(ValueError):
    """A payload cannot be decrypted. The text names its key's id, and tells no secret."""


class Encryption(PayloadCodec):
    """Encrypts by one key, if there is one; decrypts by every key."""

    def __init__(self, keys: Mapping[str, bytes], encrypting: str | None) -> None:
        """`keys` have 32 bytes each, by their ids; `encrypting` is the id of one of them."""
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._encrypting = encrypting

    @property
    def encrypts(self) -> bool:
        """Whether there is a key to encrypt by."""
        return self._encrypting is not None

    @property
    def decrypts(self) -> bool:
        """Whether there is a key to decrypt by."""
        return bool(self._ciphers)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return the payloads encrypted, or unchanged if there is no key to encrypt by."""
        if self._encrypting is None:
            return list(payloads)
        return [self._encrypted(payload, self._encrypting) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return the payloads decrypted, as the SDK asks for it.

        The SDK asks for all of a workflow task at once. So a payload that cannot be decrypted
        raises only when somebody reads it, and nobody reads a signal.
        """
        return [self._decrypted_or_marked(payload) for payload in payloads]

    async def decrypt(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return the payloads decrypted. Raises `UnreadablePayload`."""
        return [self._decrypted(payload) for payload in payloads]

    def _encrypted(self, payload: Payload, key_id: str) -> Payload:
        nonce = os.urandom(NONCE_BYTES)
        plain = payload.SerializeToString()
        sealed = self._ciphers[key_id].encrypt(nonce, plain, _bound(key_id.encode()))
        metadata = {"encoding": ENCODING, KEY_ID: key_id.encode()}
        return Payload(metadata=metadata, data=nonce + sealed)

    def _decrypted_or_marked(self, payload: Payload) -> Payload:
        try:
            return self._decrypted(payload)
        except UnreadablePayload as error:
            return Payload(metadata={"encoding": UNREADABLE.encode()}, data=str(error).encode())

    def _decrypted(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        told = payload.metadata.get(KEY_ID, b"")
        key_id = told[:64].decode(errors="replace")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise UnreadablePayload(
                f"The payload is encrypted by the key {key_id!r}, which PAYLOAD_KEYS has not."
            )
        nonce, sealed = payload.data[:NONCE_BYTES], payload.data[NONCE_BYTES:]
        try:
            return Payload.FromString(cipher.decrypt(nonce, sealed, _bound(told)))
        except (InvalidTag, ValueError, DecodeError):
            raise UnreadablePayload(
                f"The payload is not as the key {key_id!r} of PAYLOAD_KEYS has encrypted it: it "
                "was changed, or another process has another key of this id."
            ) from None


class _Unreadable(EncodingPayloadConverter):
    """Raises `UnreadablePayload` when somebody reads what cannot be decrypted."""

    encoding = UNREADABLE

    def to_payload(self, value: Any) -> Payload | None:
        return None

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        raise UnreadablePayload(payload.data.decode())


class _Values(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(
            _Unreadable(), *DefaultPayloadConverter.default_encoding_payload_converters
        )

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        """Return the values. Raises `ApplicationError` for what is not the input of a trip.

        That fails its workflow. Any other error would fail its workflow task, again and again.
        """
        if type_hints != [BookVacationInput]:
            return super().from_payloads(payloads, type_hints)
        try:
            (told,) = super().from_payloads(payloads)
            return [input_from(told)]
        except UnreadablePayload:
            raise  # Another worker may have its key.
        except (KeyError, ValueError, RuntimeError) as error:  # `KeyError`: an unknown encoding.
            about = f"Not the input of a trip: {error}"
            raise ApplicationError(cut(about), type="NotATrip", non_retryable=True) from None


class _Failures(DefaultFailureConverter):
    """Raises `UnreadablePayload` for a failure whose text cannot be decrypted.

    The SDK's own would pass over that, and the traveller be told "Encoded failure".
    """

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        attributes = failure.encoded_attributes
        if attributes.metadata.get("encoding") == UNREADABLE.encode():
            raise UnreadablePayload(attributes.data.decode())
        return super().from_failure(failure, payload_converter)


class _EncryptedFailures(_Failures):
    """The default one would leave the text and the traceback of a failure in clear."""

    def __init__(self) -> None:
        super().__init__(encode_common_attributes=True)


UNENCRYPTED = Encryption({}, None)
"""It has no keys."""


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
            _refuse(f"key {number} must be id:base64, of 32 bytes")
        if match[1] in keys:
            _refuse(f"key {number}, {match[1]}, has the id of another one")
        keys[match[1]] = base64.b64decode(match[2])
    return Encryption(keys, None if in_clear else next(iter(keys), None))


def _refuse(why: str) -> NoReturn:
    # The value is not shown: it is a secret.
    sys.exit(f"Bad setting PAYLOAD_KEYS: {why}")


def _bound(key_id: bytes) -> bytes:
    """Return the associated data: what stands in clear beside a payload and must not change."""
    return ENCODING + b":" + key_id


async def converted_json(
    convert: Callable[[Sequence[Payload]], Awaitable[list[Payload]]], body: bytes
) -> bytes:
    """Return the answer of a codec server to a request with that body.

    https://docs.temporal.io/codec-server. Raises `ValueError` if the body has no payloads, or if
    one cannot be decrypted.
    """
    try:
        given = json_format.Parse(body, Payloads(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError):
        raise ValueError("The body is not a JSON object of Protobuf with payloads.") from None
    converted = Payloads(payloads=await convert(given.payloads))
    return json_format.MessageToJson(converted, indent=None).encode()


def converter_of(encryption: Encryption) -> DataConverter:
    """Return the data converter of all clients of the service.

    It always has a codec, so that an encrypted payload without a key gives a clear error.
    """
    return dataclasses.replace(
        DataConverter.default,
        payload_converter_class=_Values,
        payload_codec=encryption,
        failure_converter_class=_EncryptedFailures if encryption.encrypts else _Failures,
    )
