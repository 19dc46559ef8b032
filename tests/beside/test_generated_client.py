"""A client that openapi-generator makes of the document does all that the API is for.

The other languages are tried by `make clients`.
"""

from pathlib import Path

import pytest

from tests.clients.generated import missing, run_client


@pytest.mark.slow
@pytest.mark.skipif(bool(missing("python")), reason=f"For want of {missing('python')}")
def test_a_generated_python_client_books_lists_cancels_and_is_refused(tmp_path: Path) -> None:
    run_client("python", tmp_path)
