"""What a worker checks before it runs sagas, so that no trip meets it in the middle."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from temporalio import workflow
from temporalio.activity import _Definition

from saga.steps import Step

with workflow.unsafe.imports_passed_through():
    from shared import (
        RECORD_HOLD,
        RECORD_STUCK_UNDO,
        RECORD_TRIP,
        RESOLVE_UNDO,
        TELL_SETTINGS,
        Kind,
    )

OF_EVERY_TRIP = (RECORD_TRIP, RECORD_HOLD, RECORD_STUCK_UNDO, RESOLVE_UNDO, TELL_SETTINGS)


def check_steps(
    steps: Sequence[Step], expected: Sequence[Kind], activities: Iterable[Callable[..., Any]]
) -> None:
    """Raise `SystemExit` with one line unless a worker with these activities can run the steps.

    `expected`: the kinds that all else is made for, in their order.
    """
    if wrong := next(_wrong(steps, expected, activities), None):
        raise SystemExit(f"Bad steps: {wrong}")


def _wrong(
    steps: Sequence[Step], expected: Sequence[Kind], activities: Iterable[Callable[..., Any]]
) -> Iterator[str]:
    kinds = [step.kind for step in steps]
    yield from (f"the kind {kind!r} is no identifier" for kind in kinds if not kind.isidentifier())
    yield from (f"two have the kind {kind}" for kind in kinds if kinds.count(kind) > 1)
    if kinds != list(expected):
        yield f"they are {', '.join(kinds)}, but the kinds are {', '.join(expected)}"
    for step, later in pairwise(steps):
        if step.undo is None and later.undo is not None:
            yield (
                f"{step.kind} has no undo, but {later.kind} after it has one, which would never "
                f"run; give {step.kind} an undo, or take that of {later.kind} away"
            )
    registered = {found.name for each in activities if (found := _Definition.from_callable(each))}
    for name in (*(each.__name__ for step in steps for each in step.activities), *OF_EVERY_TRIP):
        if name not in registered:
            yield f"the worker has no activity {name}; is it in ACTIVITIES, and an activity.defn?"
