"""The limit of open files is raised as far as the system lets it."""

import resource

import pytest

from lifecycle import allow_open_files


class Limits:
    """The limit of open files, as the system keeps it; above `bound` it refuses without a word."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, bound: int | None = None
    ) -> None:
        self.soft, self.hard, self._bound = soft, hard, bound
        monkeypatch.setattr(resource, "getrlimit", lambda _: (self.soft, self.hard))
        monkeypatch.setattr(resource, "setrlimit", self._set)

    def _set(self, _: int, limits: tuple[int, int]) -> None:
        if self._bound is not None and limits[0] > self._bound:
            raise ValueError("not allowed to raise maximum limit")
        self.soft, self.hard = limits


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [
        (256, 256, 256),
        (256, 1_000, 1_000),
        (256, 100_000, 32_768),
        (256, resource.RLIM_INFINITY, 32_768),
        (50_000, 100_000, 50_000),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, resource.RLIM_INFINITY),
    ],
)
def test_the_soft_limit_is_raised_and_never_lowered(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised: int
) -> None:
    limits = Limits(monkeypatch, soft, hard)
    allow_open_files()
    assert (limits.soft, limits.hard) == (raised, hard)


@pytest.mark.parametrize(("bound", "raised"), [(10_000, 8_192), (5_000, 4_096), (1_000, 256)])
def test_a_system_with_a_bound_of_its_own_gets_what_it_lets(
    monkeypatch: pytest.MonkeyPatch, bound: int, raised: int
) -> None:
    limits = Limits(monkeypatch, 256, resource.RLIM_INFINITY, bound)
    allow_open_files()
    assert limits.soft == raised
