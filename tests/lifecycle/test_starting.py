"""A process waits for what it cannot work without, and for nothing else."""

import logging

import pytest

from lifecycle import starting, until_there


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "SHORTEST_WAIT", 0.001)


async def test_it_says_once_what_it_waits_for_and_goes_on_when_it_is_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers = ["asleep", "asleep", "broken", "asleep", None]

    async def use() -> str:
        if (obstacle := answers.pop(0)) is not None:
            raise TimeoutError(obstacle)
        return "noon"

    with caplog.at_level(logging.INFO, "lifecycle"):
        assert await until_there("the clock", use, TimeoutError) == "noon"
    assert answers == []
    assert caplog.messages == [f"Waiting for the clock: {why}" for why in ("asleep", "broken")]


async def test_another_error_ends_the_wait() -> None:
    async def use() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await until_there("the clock", use, TimeoutError)
