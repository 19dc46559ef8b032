"""What a new kind of step needs in the API, named for whoever forgets it; all else is derived."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from api import schemas
from shared import KINDS


@pytest.mark.parametrize("model", [schemas.BookRequest, schemas.BookAnswer, schemas.BookingSummary])
def test_each_kind_has_its_field(model: type[BaseModel]) -> None:
    missing = set(KINDS) - set(model.model_fields)
    assert not missing, f"{model.__name__} in api/schemas.py needs a field for each kind"


def test_a_booked_kind_is_not_left_out_of_the_answer_in_silence() -> None:
    items: dict[Any, str] = dict.fromkeys([*KINDS, "a boat without a field"], "x")
    with pytest.raises(ValidationError, match="a boat without a field"):
        schemas.BookAnswer(user_id="jo", **schemas.told(items))
