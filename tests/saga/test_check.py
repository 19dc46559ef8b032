"""Steps that no worker can run are named in one line when it starts."""

from typing import Any

import pytest
from temporalio import activity

import run_worker
from run_worker import ACTIVITIES
from saga import Step, check_steps
from shared import KINDS
from tests.saga import shop
from tests.saga.order import PARCEL, PAYMENT, RECEIPT, STOCK
from workflows import STEPS


async def forgotten(_trip: object) -> None:
    """Is no activity."""


@activity.defn(name="of_another_name")
async def renamed(_trip: object) -> None: ...


FIRST, *REST = STEPS
*START, LAST = STEPS
EXPECTED = ", ".join(KINDS)


def kind(name: Any) -> Step:
    return LAST._replace(kind=name)


BAD: list[tuple[list[Step], str]] = [
    ([FIRST._replace(undo=None), *REST], f"{KINDS[0]} has no undo, but {KINDS[1]} after it has"),
    ([*START, kind("gift card")], "the kind 'gift card' is no identifier"),
    ([*START, kind("2nd_flight")], "the kind '2nd_flight' is no identifier"),
    ([*STEPS, FIRST], f"two have the kind {KINDS[0]}"),
    (START, f"they are {', '.join(KINDS[:-1])}, but the kinds are {EXPECTED}"),
    ([*REST, FIRST], f"they are {', '.join([*KINDS[1:], KINDS[0]])}, but the kinds are {EXPECTED}"),
    ([*START, LAST._replace(book=forgotten)], "the worker has no activity forgotten; "),
    ([*START, LAST._replace(undo=renamed)], "the worker has no activity renamed; "),
]


@pytest.mark.parametrize(("steps", "wrong"), BAD)
def test_bad_steps_stop_the_worker_at_its_start_with_one_line(
    steps: list[Step], wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("run_worker.STEPS", steps)
    monkeypatch.setattr("run_worker.ACTIVITIES", [*ACTIVITIES, forgotten, renamed])
    with pytest.raises(SystemExit) as stopped:
        run_worker.main()
    told = str(stopped.value)
    assert told.startswith(f"Bad steps: {wrong}") and "\n" not in told


@pytest.mark.parametrize("missing", ACTIVITIES)
def test_each_activity_that_is_not_registered_is_named(missing: Any) -> None:
    left = [each for each in ACTIVITIES if each is not missing]
    with pytest.raises(SystemExit, match=f"has no activity {missing.__name__};"):
        check_steps(STEPS, KINDS, left)


@pytest.mark.parametrize("pivot", range(5))
def test_a_step_without_an_undo_may_have_only_such_steps_after_it(pivot: int) -> None:
    undo: Any = shop.undo_book_stock
    steps = [
        step._replace(undo=undo if number < pivot else None)
        for number, step in enumerate([PAYMENT, STOCK, PARCEL, RECEIPT])
    ]
    activities = [activity for step in steps for activity in step.activities]
    check_steps(steps, [step.kind for step in steps], [*ACTIVITIES, *activities])
