"""The pages in a real browser. `pip install -r requirements/dev.txt` brings what drives it."""

import pytest

pytest.importorskip("playwright", reason="Playwright, which requirements/dev.txt has, is missing")
