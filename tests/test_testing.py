"""The tests in `docs/testing.md` run as they stand, twice, and touch no record but their own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

FILES = re.findall(
    r"^```python\n# (tests/mine/\S+)\n(.*?)^```$",
    (ROOT / "docs" / "testing.md").read_text(),
    re.MULTILINE | re.DOTALL,
)


@pytest.mark.slow
def test_the_tests_of_the_documentation_run_as_they_stand(tmp_path: Path) -> None:
    for name, text in FILES:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-n0", "-q", str(tmp_path)]
    # The default record is one here that nobody can write.
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert done.returncode == 0, done.stdout
        assert "5 passed" in done.stdout
