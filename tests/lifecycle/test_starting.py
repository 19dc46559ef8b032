"""A process waits for what it cannot work without, and may open as many files as it can get."""

import logging
import resource

import pytest

from lifecycle import allow_open_files, starting, until_there


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


@pytest.mark.parametrize(
    ("soft", "hard", "bound", "raised"),
    [
        (256, 256, None, 256),
        (256, 1_000, None, 1_000),
        (256, 100_000, None, 32_768),
        (256, resource.RLIM_INFINITY, None, 32_768),
        (50_000, 100_000, None, 50_000),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, resource.RLIM_INFINITY),
        # Such a system refuses what is above its own bound.
        (256, resource.RLIM_INFINITY, 10_000, 8_192),
        (256, resource.RLIM_INFINITY, 5_000, 4_096),
        (256, resource.RLIM_INFINITY, 1_000, 256),
    ],
)
def test_the_limit_of_open_files_is_raised_as_far_as_the_system_lets_it_and_never_lowered(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, bound: int | None, raised: int
) -> None:
    kept = (soft, hard)

    def keep(_: int, limits: tuple[int, int]) -> None:
        nonlocal kept
        if bound is not None and limits[0] > bound:
            raise ValueError("not allowed to raise maximum limit")
        kept = limits

    monkeypatch.setattr(resource, "getrlimit", lambda _: kept)
    monkeypatch.setattr(resource, "setrlimit", keep)
    allow_open_files()
    assert kept == (raised, hard)
