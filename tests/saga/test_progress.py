"""The Markdown of a trip's progress: a text from outside has no meaning in it."""

import pytest

from saga.progress import as_cell


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("Sold out", "`Sold out`"),
        ('"Sold" -- <b>out</b>', '`"Sold" -- <b>out</b>`'),
        ("# [x](javascript:x) &amp; \\", "`# [x](javascript:x) &amp; \\`"),
        (" sold\n\n  out\u2028now\t", "`sold out now`"),
        ("a | b|c", "`a` &#124; `b`&#124;`c`"),
        ("`a` ``", "&#96;`a`&#96; &#96;&#96;"),
        ("of {runId}", "`of` &#123;`runId}`"),
        ("| ` {", "&#124; &#96; &#123;"),
        ("😀" * 200, f"`{'😀' * 200}`"),
    ],
)
def test_a_text_shows_as_itself_in_a_cell(text: str, shown: str) -> None:
    assert as_cell(text) == shown
