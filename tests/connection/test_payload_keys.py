"""The keys of what goes to Temporal, as their setting has them."""

import base64

import pytest
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload

from connection import Encryption, encryption_of

OLD, NEW = bytes(32), b"k" * 32
OLD_TEXT, NEW_TEXT = (base64.b64encode(key).decode() for key in (OLD, NEW))
SECRET = "not-to-be-shown-0123456789"
PLAIN = Payload(data=b"Quillfeather")


def by(setting: str) -> Encryption:
    return encryption_of(SecretStr(setting))


def test_the_first_key_encrypts_and_every_key_decrypts() -> None:
    both = by(f"new:{NEW_TEXT}, old:{OLD_TEXT}")
    assert Encryption({"new": NEW}, None).decrypt(both.encrypt([PLAIN])) == [PLAIN]
    for key_id, key in (("new", NEW), ("old", OLD)):
        assert both.decrypt(Encryption({key_id: key}, key_id).encrypt([PLAIN])) == [PLAIN]


def test_keys_may_be_there_to_decrypt_alone() -> None:
    decrypting = by(f"plain,old:{OLD_TEXT}")
    assert (decrypting.encrypts, decrypting.decrypts) == (False, True)
    assert decrypting.encrypt([PLAIN]) == [PLAIN]
    assert decrypting.decrypt(Encryption({"old": OLD}, "old").encrypt([PLAIN])) == [PLAIN]


@pytest.mark.parametrize("setting", ["", " ", ",", "plain"])
def test_without_a_key_nothing_is_encrypted(setting: str) -> None:
    unencrypted = by(setting)
    assert (unencrypted.encrypts, unencrypted.decrypts) == (False, False)
    assert unencrypted.encrypt([PLAIN]) == [PLAIN]


@pytest.mark.parametrize(
    "bad",
    [
        *("x", OLD_TEXT, f":{OLD_TEXT}", f"a b:{OLD_TEXT}", "a:", "a:b", SECRET, f"2026:{SECRET}"),
        *(f"a:{OLD_TEXT}{end}" for end in ("x", "=", f",a:{OLD_TEXT}", ",plain")),
    ],
)
def test_a_bad_key_stops_the_process_with_one_line_that_does_not_show_it(bad: str) -> None:
    with pytest.raises(SystemExit, match=r"^Bad setting PAYLOAD_KEYS: key \d") as stopped:
        by(bad)
    said = str(stopped.value)
    assert len(said.splitlines()) == 1
    assert SECRET not in said
    assert OLD_TEXT not in said
