"""What the settings make of a supplier."""

import asyncio

import pytest

from record import Record
from settings import load_settings
from suppliers import OutsideDesk, compose
from tests.processes import ROOT


async def test_a_supplier_gets_as_many_calls_at_once_as_its_setting_says(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOTEL_SUPPLIER_URL", "http://hotels.example")
    monkeypatch.setenv("HOTEL_SUPPLIER_CONNECTIONS", "5")
    hotels = compose(record, load_settings()).desks["hotel"]
    assert isinstance(hotels, OutsideDesk)
    assert isinstance(hotels.places, asyncio.Semaphore)
    assert hotels.places._value == 5


def test_the_lines_around_a_supplier_of_your_own_are_those_of_the_code() -> None:
    _, _, diff = (ROOT / "docs" / "suppliers.md").read_text().partition("```diff\n")
    lines = diff.partition("```")[0].splitlines(keepends=True)
    around = "".join(line[1:] for line in lines if line.startswith(" "))
    assert around.count("\n") > 3
    assert around in (ROOT / "suppliers" / "composition.py").read_text()
