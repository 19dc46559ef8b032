"""What Schemathesis is not to make up: the document says it otherwise than the API has it.

The document tells of `attempts` as a number alone, and `"5"` is taken, too. Its patterns name the
control characters of ASCII alone, and those beyond are refused, too. See `api/fields.py`.
"""

import unicodedata
from typing import Any

import schemathesis
from schemathesis import HookContext

from api.fields import WHOLE_NUMBER


@schemathesis.hook
def filter_body(_: HookContext, body: Any) -> bool:
    """Tell whether a body is one that document and API agree on."""
    texts = body.values() if isinstance(body, dict) else ()
    return not any(
        WHOLE_NUMBER.fullmatch(text)
        or any(unicodedata.category(each) == "Cc" and ord(each) > 0x7F for each in text)
        for text in texts
        if isinstance(text, str)
    )
