"""A kind of step is whole: what a new one forgets is named by the type checker or by a test here.

`docs/extending.md` shows how a fourth kind is added.
"""

import dataclasses

from run_worker import ACTIVITIES
from shared import KINDS, BookVacationInput
from workflows import STEPS


def test_the_saga_has_a_step_of_each_kind_in_their_order() -> None:
    assert tuple(step.kind for step in STEPS) == KINDS


def test_the_input_has_an_item_of_each_kind() -> None:
    names = {field.name for field in dataclasses.fields(BookVacationInput)}
    assert {f"book_{kind}_id" for kind in KINDS} <= names


def test_the_activities_of_a_step_are_named_for_its_kind() -> None:
    for step in STEPS:
        names = f"book_{step.kind}", f"undo_book_{step.kind}"
        assert tuple(activity.__name__ for activity in step.activities) == names
        assert set(step.activities) <= set(ACTIVITIES)
