"""What the settings make of a supplier."""

import asyncio

import pytest

from record import Record
from settings import load_settings
from suppliers import OutsideDesk, compose


async def test_a_supplier_gets_as_many_calls_at_once_as_its_setting_says(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOTEL_SUPPLIER_URL", "http://hotels.example")
    monkeypatch.setenv("HOTEL_SUPPLIER_CONNECTIONS", "5")
    hotels = compose(record, load_settings()).desks["hotel"]
    assert isinstance(hotels, OutsideDesk)
    assert isinstance(hotels.places, asyncio.Semaphore)
    assert hotels.places._value == 5
