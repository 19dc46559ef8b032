"""A process waits for what it cannot work without, and for nothing else."""

import logging

import pytest

from lifecycle import starting, until_there


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "RETRY_INTERVAL", 0.001)


async def test_it_says_what_it_waits_for_and_goes_on_when_it_is_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers = [TimeoutError("asleep"), TimeoutError("asleep"), None]

    async def use() -> None:
        if (answer := answers.pop(0)) is not None:
            raise answer

    with caplog.at_level(logging.INFO, "lifecycle"):
        await until_there("the clock", use, TimeoutError)
    assert answers == []
    assert caplog.messages == ["Waiting for the clock: asleep"] * 2


async def test_another_error_ends_the_wait() -> None:
    async def use() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await until_there("the clock", use, TimeoutError)
