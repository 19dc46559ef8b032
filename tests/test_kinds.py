"""A kind of step is whole: what a new one forgets is named by the type checker or by a test here.

`docs/extending.md` shows how a fourth kind is added.
"""

import dataclasses

import pytest

from run_worker import ACTIVITIES
from shared import KINDS, BookVacationInput, Kind
from workflows import STEPS

each_kind = pytest.mark.parametrize("kind", KINDS)


def test_the_saga_has_a_step_of_each_kind_in_their_order() -> None:
    assert tuple(step.kind for step in STEPS) == KINDS


@each_kind
def test_the_input_has_an_item_of_each_kind(kind: Kind) -> None:
    names = [field.name for field in dataclasses.fields(BookVacationInput)]
    assert f"book_{kind}_id" in names


@each_kind
def test_the_activities_of_a_step_are_named_for_its_kind(kind: Kind) -> None:
    (step,) = [step for step in STEPS if step.kind == kind]
    assert (step.book.__name__, step.undo.__name__) == (f"book_{kind}", f"undo_book_{kind}")
    assert step.book in ACTIVITIES
    assert step.undo in ACTIVITIES
