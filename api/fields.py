"""The types of what requests carry: what validates each, and what the document says of it."""

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

MAX_ATTEMPTS = 100
WHOLE_NUMBER = re.compile(r"[1-9][0-9]{0,4}")
CONTROLS = r"\x00-\x1f\x7f"
"""Those of ASCII, in a notation that every dialect of patterns knows. Clients in PHP do not know
`\\u0000`, and match bytes: with the range of U+0080 to U+009F they would refuse most scripts."""


def _visible(text: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise ValueError("must not contain control characters or lone surrogates")
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def _whole_number(value: object) -> object:
    """Let through what means a whole number: 5, 5.0 and the tutorial's "5", but not true."""
    odd_text = isinstance(value, str) and not WHOLE_NUMBER.fullmatch(value)
    odd_number = isinstance(value, float) and not value.is_integer()
    if odd_text or odd_number or isinstance(value, bool):
        raise ValueError('must be a whole number such as 5 or "5"')
    return value


Text = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=200),
    AfterValidator(_visible),
    # What `_visible` wants, as far as JSON Schema can say it.
    Field(json_schema_extra={"pattern": rf"^[^{CONTROLS}]*[^\s{CONTROLS}][^{CONTROLS}]*$"}),
]

Attempts = Annotated[
    int,
    Field(ge=1, le=MAX_ATTEMPTS),
    # The document tells of numbers alone: clients are generated that cannot have it both ways.
    BeforeValidator(_whole_number),
]

HoldSeconds = Annotated[
    int, Field(ge=60, le=86_400, examples=[900]), BeforeValidator(_whole_number)
]

# The Idempotency-Key is a string as structured fields have it (RFC 9651, section 3.3.3), to which
# parameters may be added (section 3.1.2) that mean nothing here. Most clients send it bare.
# https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
_STRING = r'"(?:[ !#-\[\]-~]|\\["\\])*"'
_WORD = r"[A-Za-z*][!#-'*+.^_`|~0-9A-Za-z:/-]*"
_BARE_ITEM = rf"(?:@?-?[0-9]{{1,15}}(?:\.[0-9]{{1,3}})?|{_STRING}|{_WORD}|:[A-Za-z0-9+/=]*:|\?[01])"
_PARAMETERS = rf"(?:; *[a-z*][a-z0-9_.*-]*(?:={_BARE_ITEM})?)*"
MAX_KEY = 255
KEY_PATTERN = (
    rf"^(?:[!#-+.-\[\]-~-]{{1,{MAX_KEY}}}"
    rf'|"((?:[ !#-\[\]-~]|\\["\\]){{1,{MAX_KEY}}})"{_PARAMETERS})$'
)


def _key(header: str) -> str:
    """Return the key that the header holds: `"abc"` and `abc` are the same."""
    key = header.strip(" \t")
    match = re.fullmatch(KEY_PATTERN, key)
    if match is None:
        raise ValueError(
            f"must be a string of 1 to {MAX_KEY} characters of printable ASCII in quotes, with "
            '\\" and \\\\ for " and \\ in it; without the quotes it may have no blank, comma, '
            "quote or backslash"
        )
    return re.sub(r"\\(.)", r"\1", match[1]) if match[1] else key


IdempotencyKey = Annotated[
    str, BeforeValidator(_key), Field(json_schema_extra={"pattern": KEY_PATTERN})
]
