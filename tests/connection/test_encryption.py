"""What goes to Temporal is encrypted by the first key, and only whoever has its key can read it."""

import base64
import re

import pytest
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from connection import (
    Encryption,
    UnreadablePayload,
    converted_json,
    converter_of,
    encryption_of,
)

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
OLD_TEXT, NEW_TEXT = (base64.b64encode(key).decode() for key in (OLD, NEW))
BAD_KEY = "not-to-be-shown-0123456789"
SECRET = "Zephyrine Quillfeather"
PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=f'"{SECRET}"'.encode())
NEITHER = Payload(metadata={"encoding": b"binary/null"})


@pytest.fixture
def encryption() -> Encryption:
    return Encryption({"new": NEW, "old": OLD}, "new")


async def test_a_payload_comes_back_as_it_was_and_shows_nothing_meanwhile(
    encryption: Encryption,
) -> None:
    sealed = await encryption.encode([PLAIN, NEITHER])
    assert await encryption.decode(sealed) == [PLAIN, NEITHER]
    for payload in sealed:
        assert dict(payload.metadata) == {
            "encoding": b"binary/encrypted",
            "encryption-key-id": b"new",
        }
        assert not re.search(b"Zephyrine|json|null", payload.SerializeToString())


async def test_two_payloads_are_never_encrypted_alike(encryption: Encryption) -> None:
    """With the same nonce twice, one key gives away what it encrypts."""
    sealed = await encryption.encode([PLAIN] * 1_000)
    assert len({payload.data[:12] for payload in sealed}) == 1_000
    assert len({payload.data[12:] for payload in sealed}) == 1_000


def by(setting: str) -> Encryption:
    return encryption_of(SecretStr(setting))


async def test_the_settings_first_key_encrypts_and_every_key_decrypts() -> None:
    both = by(f"new:{NEW_TEXT}, old:{OLD_TEXT}")
    assert await Encryption({"new": NEW}, None).decode(await both.encode([PLAIN])) == [PLAIN]
    by_old = await Encryption({"old": OLD}, "old").encode([PLAIN])
    assert await both.decode([*by_old, NEITHER, *await both.encode([PLAIN])]) == [
        PLAIN,
        NEITHER,
        PLAIN,
    ]
    decrypting = by(f"plain,old:{OLD_TEXT}")
    assert (decrypting.encrypts, decrypting.decrypts) == (False, True)
    assert await decrypting.encode([PLAIN]) == [PLAIN]
    assert await decrypting.decode(by_old) == [PLAIN]


@pytest.mark.parametrize("setting", ["", " ", ",", "plain"])
async def test_without_a_key_nothing_is_encrypted(setting: str) -> None:
    unencrypted = by(setting)
    assert (unencrypted.encrypts, unencrypted.decrypts) == (False, False)
    assert await unencrypted.encode([PLAIN]) == [PLAIN]


@pytest.mark.parametrize(
    "bad",
    [
        *("x", OLD_TEXT, f":{OLD_TEXT}", f"a b:{OLD_TEXT}", "a:", "a:b", f"2026:{BAD_KEY}"),
        *(f"a:{OLD_TEXT}{end}" for end in ("x", "=", f",a:{OLD_TEXT}", ",plain")),
    ],
)
def test_a_bad_key_stops_the_process_with_one_line_that_does_not_show_it(bad: str) -> None:
    with pytest.raises(SystemExit, match=r"\ABad setting PAYLOAD_KEYS: key \d.+\Z") as stopped:
        by(bad)
    assert BAD_KEY not in str(stopped.value)
    assert OLD_TEXT not in str(stopped.value)


@pytest.mark.parametrize("keys", [{}, {"old": OLD}], ids=["no key", "another key"])
async def test_an_unknown_key_is_named(encryption: Encryption, keys: dict[str, bytes]) -> None:
    with pytest.raises(UnreadablePayload, match="by the key 'new', which PAYLOAD_KEYS has not"):
        await Encryption(keys, None).decrypt(await encryption.encode([PLAIN]))


async def test_another_key_of_the_same_name_is_told_of(encryption: Encryption) -> None:
    with pytest.raises(UnreadablePayload, match="not as the key 'new' of PAYLOAD_KEYS"):
        await Encryption({"new": OLD}, "new").decrypt(await encryption.encode([PLAIN]))


async def test_an_unknown_key_is_named_to_whoever_reads_the_payload_only(
    encryption: Encryption,
) -> None:
    reader = converter_of(Encryption({}, None))
    read, unread = await converter_of(encryption).encode([SECRET, SECRET])
    _, raw = await reader.decode([unread, unread], [RawValue, RawValue])
    assert SECRET.encode() not in raw.payload.data
    with pytest.raises(UnreadablePayload, match="by the key 'new', which PAYLOAD_KEYS has not"):
        await reader.decode([read])


@pytest.mark.parametrize("keys", [{}, {"old": OLD}], ids=["no key", "another key"])
async def test_a_failure_under_an_unknown_key_is_no_failure_of_another_text(
    encryption: Encryption, keys: dict[str, bytes]
) -> None:
    failure = Failure()
    await converter_of(encryption).encode_failure(ApplicationError(SECRET), failure)
    reader = converter_of(Encryption(keys, next(iter(keys), None)))
    with pytest.raises(UnreadablePayload, match="key 'new'"):
        await reader.decode_failure(failure)


@pytest.mark.parametrize("place", [0, 11, 12, 40, -1])
async def test_a_changed_payload_is_refused(encryption: Encryption, place: int) -> None:
    (sealed,) = await encryption.encode([PLAIN])
    changed = bytearray(sealed.data)
    changed[place] ^= 1
    sealed.data = bytes(changed)
    with pytest.raises(UnreadablePayload, match="key 'new'"):
        await encryption.decrypt([sealed])


async def test_a_payload_goes_under_no_other_keys_name() -> None:
    """Which key it was is authenticated, too: also where two names have one key."""
    twins = Encryption({"new": NEW, "twin": NEW}, "new")
    (sealed,) = await twins.encode([PLAIN])
    sealed.metadata["encryption-key-id"] = b"twin"
    with pytest.raises(UnreadablePayload, match="key 'twin'"):
        await twins.decrypt([sealed])


@pytest.mark.parametrize("data", [b"", b"short", b"twelve bytes", bytes(27)], ids=len)
async def test_what_only_claims_to_be_encrypted_is_refused(
    encryption: Encryption, data: bytes
) -> None:
    claims = Payload(
        metadata={"encoding": b"binary/encrypted", "encryption-key-id": b"new"}, data=data
    )
    with pytest.raises(UnreadablePayload, match="key 'new'"):
        await encryption.decrypt([claims])
    claims.metadata["encryption-key-id"] = b"\xff" * 1_000
    with pytest.raises(UnreadablePayload) as refused:
        await encryption.decrypt([claims])
    assert len(str(refused.value)) < 200


async def test_a_failures_text_and_traceback_are_encrypted_and_come_back(
    encryption: Encryption,
) -> None:
    converter, sealed = converter_of(encryption), Failure()
    with pytest.raises(ApplicationError) as raised:
        raise ApplicationError(f"No room for {SECRET}", SECRET, type="BookingRefused")
    await converter.encode_failure(raised.value, sealed)
    shown = sealed.SerializeToString()
    assert b"Zephyrine" not in shown and b"test_encryption" not in shown
    assert sealed.application_failure_info.type == "BookingRefused", "retry policies go by it"
    told = await converter.decode_failure(sealed)
    assert isinstance(told, ApplicationError)
    assert (told.message, told.details) == (f"No room for {SECRET}", (SECRET,))


async def test_without_encryption_failures_stay_as_people_read_them() -> None:
    failure = Failure()
    await converter_of(Encryption({"old": OLD}, None)).encode_failure(
        ApplicationError("Sold out"), failure
    )
    assert failure.message == "Sold out"


async def test_a_codec_server_answers_as_temporal_asks(encryption: Encryption) -> None:
    data = base64.b64encode(PLAIN.data).decode()
    encoding = base64.b64encode(b"json/plain").decode()
    body = (
        f'{{"payloads": [{{"metadata": {{"encoding": "{encoding}"}}, "data": "{data}", "x": 1}}]}}'
    )
    sealed = await converted_json(encryption.encode, body.encode())
    assert data.encode() not in sealed
    answer = await converted_json(encryption.decode, sealed)
    assert data.encode() in answer and encoding.encode() in answer
    assert await converted_json(encryption.decode, b"{}") == b"{}"


@pytest.mark.parametrize("body", [b"", b"{", b'{"payloads": 1}', b"\xff"])
async def test_what_has_no_payloads_is_refused(encryption: Encryption, body: bytes) -> None:
    with pytest.raises(ValueError, match="The body is not a JSON object"):
        await converted_json(encryption.decode, body)
