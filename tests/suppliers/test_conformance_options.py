"""The conformance suite's options: whom it asks, and what is said of a mistake.

An adopter gives them to a pytest of its own. That takes seconds, so it is tried in the slow tests;
what the options do is tested here in the same process.
"""

import argparse
import asyncio
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from record import Record
from tests.processes import ROOT, bare_environment
from tests.suppliers import test_conformance as suite
from tests.suppliers.conftest import TestClock, given, pytest_configure, simulated
from tests.suppliers.subject import Subject
from tests.suppliers.test_conformance_itself import DOCS, failing

Give = Callable[..., argparse.Namespace]

BAD_OPTIONS = [
    (["--supplier=http://127.0.0.1:1/x"], "--supplier needs --supplier-item"),
    (["--supplier=nowhere:X", "--supplier-item=x"], "is no URL and no module:name"),
    (["--supplier=tests.suppliers.unfaithful:X", "--supplier-item=x"], "has no attribute 'X'"),
]
"""What an adopter may write by mistake, and what is said of it."""


@pytest.fixture
def give(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> Give:
    """Give this very run options of the suite, for as long as the test takes."""

    def give(*options: str) -> argparse.Namespace:
        for option in options:
            name, _, value = option.removeprefix("--").partition("=")
            monkeypatch.setattr(pytestconfig.option, name.replace("-", "_"), value)
        return pytestconfig.option

    return give


def options_of(subject: Subject) -> list[str]:
    """Return what an adopter would write to have the simulator's hotels asked."""
    return [
        f"--supplier={subject.url}",
        "--supplier-kind=hotel",
        "--supplier-item=valid-hotel",
        "--supplier-unknown-item=unknown-hotel",
        "--supplier-token=t0ken",
    ]


async def test_the_supplier_of_a_url_is_asked(
    record: Record, tmp_path: Path, clock: TestClock, give: Give
) -> None:
    async with (
        simulated(record, tmp_path, clock) as subject,
        given(record, give(*options_of(subject))) as asked,
    ):
        assert await failing(asked) == set()
        await asked.clear()


@pytest.mark.parametrize(("options", "told"), BAD_OPTIONS)
def test_a_bad_option_is_refused(
    pytestconfig: pytest.Config,
    give: Give,
    options: list[str],
    told: str,
) -> None:
    give(*options)
    with pytest.raises(pytest.UsageError, match=told):
        pytest_configure(pytestconfig)


# The command line: each run starts another pytest, which takes seconds


async def run_suite(*options: str) -> tuple[int | None, str]:
    """Run the suite as an adopter does."""
    command = ["-m", "pytest", "-q", "-rsf", "-p", "no:cacheprovider", str(Path(suite.__file__))]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        *options,
        cwd=ROOT,
        env=bare_environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


@pytest.mark.slow
async def test_the_suite_asks_a_class_and_fails_for_one_that_breaks_the_port() -> None:
    code, output = await run_suite(
        "--supplier=tests.suppliers.unfaithful:Once", "--supplier-item=valid"
    )
    assert code == 1, output
    assert "this was refused, and must not be: It is cancelled already" in output
    assert "1 failed" in output


@pytest.mark.slow
async def test_a_bad_option_is_told_of_in_one_line() -> None:
    options, told = BAD_OPTIONS[-1]
    code, output = await run_suite(*options)
    assert (code, output.strip().count("\n")) == (pytest.ExitCode.USAGE_ERROR, 0), output
    assert told in output


# The docs


def test_the_docs_tell_of_every_option_of_the_suite(pytestconfig: pytest.Config) -> None:
    told = DOCS.read_text().partition("| pytest option |")[2].partition("\n\n")[0]
    options = {f"--{name.replace('_', '-')}" for name in vars(pytestconfig.option)}
    ours = {name for name in options if re.match("--supplier(-|$)", name)}
    assert set(re.findall(r"--supplier[a-z-]*", told)) == ours
