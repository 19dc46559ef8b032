"""Reading a request's JSON: what is ambiguous or hostile is refused in words that help."""

from typing import Any

import pytest

from api.intake import BadJson, parse_json


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b" {} ", {}),
        (b'{"a": {"a": 1}, "b": [true, null, -1.5e3]}', {"a": {"a": 1}, "b": [True, None, -1500]}),
        ('"\u202eZoë 🧳"'.encode(), "\u202eZoë 🧳"),
        (rb'"\ud83e\uddf3"', "🧳"),
        (b"9" * 4_000, int("9" * 4_000)),
    ],
    ids=lambda given: ascii(given)[:30],
)
def test_json_is_read_as_it_is(body: bytes, value: Any) -> None:
    assert parse_json(body) == value


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "The body is not JSON (line 1, column 1)"),
        (b'{"a": 1}\n {}', "The body is not JSON (line 2, column 2)"),
        # Where exactly, the versions of Python see differently.
        (b'{"a": 1,\n}', "The body is not JSON (line "),
        (b'"a\x00b"', "The body is not JSON (line 1, column "),
        (b"\xff", "not UTF-8"),
        (b"\xed\xa0\x80", "not UTF-8"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b"\xef\xbb\xbf{}", "begins with a byte order mark"),
        (b'{"a": 1, "b": 2, "a": 1}', "The key 'a' appears twice"),
        (b'[{"b": {"c": 1, "c": 2}}]', "The key 'c' appears twice"),
        (rb'{"\ud800": 1}', r"The key '\ud800' is not Unicode text"),
        (b"NaN", "NaN is not a JSON number"),
        (b"[-Infinity]", "-Infinity is not a JSON number"),
        (b"9" * 5_000, "A number is too long"),
        (b"[" * 100_000, "nested too deeply"),
    ],
    ids=lambda given: ascii(given)[:30],
)
def test_what_cannot_be_relied_on_is_refused_with_the_reason(body: bytes, complaint: str) -> None:
    with pytest.raises(BadJson) as refused:
        parse_json(body)
    assert complaint in str(refused.value)
