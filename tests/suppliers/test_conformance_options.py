"""The conformance suite: a supplier that it fails, the options of its command line, its docs."""

import re

import pytest

from record import Record
from tests.processes import ROOT
from tests.suppliers import test_conformance as suite
from tests.suppliers.conftest import pytest_configure
from tests.suppliers.subjects import TestClock, example

DOCS = ROOT / "docs" / "suppliers.md"


async def test_a_late_seconds_that_is_too_short_fails(record: Record, clock: TestClock) -> None:
    async with example(record, clock, late=1.0, found_after=2.0) as subject:
        with pytest.raises((pytest.fail.Exception, AssertionError)):
            await suite.test_a_booking_whose_answer_was_lost_is_found_and_cancelled(subject)


# The options


@pytest.mark.parametrize(
    ("supplier", "item", "told"),
    [
        ("http://127.0.0.1:1/x", None, "--supplier needs --supplier-item"),
        ("nowhere:X", "x", "is no URL and no module:name"),
        ("tests.suppliers.script:X", "x", "has no attribute 'X'"),
    ],
)
def test_a_bad_option_is_refused(
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
    supplier: str,
    item: str | None,
    told: str,
) -> None:
    monkeypatch.setattr(pytestconfig.option, "supplier", supplier)
    monkeypatch.setattr(pytestconfig.option, "supplier_item", item)
    with pytest.raises(pytest.UsageError, match=told):
        pytest_configure(pytestconfig)


def test_the_docs_tell_of_every_option_of_the_suite(pytestconfig: pytest.Config) -> None:
    told = DOCS.read_text().partition("| pytest option |")[2].partition("\n\n")[0]
    options = {f"--{name.replace('_', '-')}" for name in vars(pytestconfig.option)}
    ours = {name for name in options if re.match("--supplier(-|$)", name)}
    assert set(re.findall(r"--supplier[a-z-]*", told)) == ours
