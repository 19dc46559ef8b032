"""Bookings are ready when the record can be written, and a worker takes trips."""

import asyncio
import datetime as dt
from pathlib import Path

import pytest

from bookings import Bookings
from connection import lazy_client, polling
from record import Record
from tests.bookings.requests import UNASKED
from tests.conftest import IMPATIENT
from tests.connection.stub_server import CONNECTED, Answer, stub_server


async def test_they_are_ready_once_a_worker_polls(asked: Bookings, worker: None) -> None:
    async with asyncio.timeout(20):
        while await asked.check_ready() is not None:
            await asyncio.sleep(0.05)


async def test_without_a_record_temporal_is_not_asked(tmp_path: Path) -> None:
    async with Record.open(f"sqlite:///{tmp_path}/no/such/folder.db") as nowhere:
        assert await Bookings(UNASKED, nowhere, IMPATIENT).check_ready() is not None


async def test_a_server_that_says_nothing_keeps_nobody_waiting(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "RPC_TIMEOUT", dt.timedelta(seconds=0.5))
    async with stub_server([CONNECTED, Answer(never=True)]) as address:
        asked = Bookings(await lazy_client({"target_host": address}), record, IMPATIENT)
        async with asyncio.timeout(10):
            assert await asked.check_ready() == "Temporal cannot be reached"


async def test_those_who_ask_at_the_same_time_share_one_question(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = 0, asyncio.Event()

    async def question(_: object) -> str:
        nonlocal asked
        asked += 1
        await answer.wait()
        return f"Answer {asked}"

    monkeypatch.setattr(polling.Polls, "nobody_takes_trips", question)
    bookings = Bookings(UNASKED, record, IMPATIENT)
    asking = [asyncio.create_task(bookings.check_ready()) for _ in range(132)]
    async with asyncio.timeout(10):
        while not asked:
            await asyncio.sleep(0.01)
        asking[0].cancel()  # It leaves the question to the others.
        answer.set()
        answers = await asyncio.gather(*asking[1:])
        assert set(answers) == {"Answer 1"}
        assert await bookings.check_ready() == "Answer 2"
