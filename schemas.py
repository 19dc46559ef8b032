"""The requests that the API takes and the answers that it gives, as pydantic models.

They validate, and the OpenAPI document is made from them. They know nothing of Temporal.
"""

import datetime as dt
import json
import math
import re
import unicodedata
from typing import Annotated, Any, Literal, NoReturn

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from shared import Kind, StepState, TripStatus

MAX_ATTEMPTS = 100
WHOLE_NUMBER = re.compile(r"[1-9][0-9]{0,2}")


class BadJson(ValueError):
    """The body is not JSON that can be relied on; the message says why."""


def parse_json(body: bytes) -> Any:
    """Return the JSON value in `body`.

    Stricter than `json.loads`, which lets the last of two equal keys win and takes NaN: RFC 8259
    has no NaN, and calls the meaning of repeated names unpredictable. Raises `BadJson`.
    """
    try:
        return json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_no_constant
        )
    except UnicodeDecodeError:
        raise BadJson("The body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadJson(
            f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from None
    except RecursionError:
        raise BadJson("The body is nested too deeply") from None
    except ValueError as error:
        # BadJson of the hooks below, or Python's limit on the digits of an integer.
        raise BadJson(
            str(error) if isinstance(error, BadJson) else "A number is too long"
        ) from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise BadJson(f"The key {repeated!r} appears twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise BadJson(f"{name} is not a JSON number")


def _visible(text: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise ValueError("must not contain control characters or lone surrogates")
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def _whole_number(value: object) -> object:
    """Let through what means a whole number: 5, 5.0 and the tutorial's "5", but not true."""
    if isinstance(value, bool):
        raise ValueError("must be a whole number, not true or false")  # noqa: TRY004 - pydantic's way
    if isinstance(value, str) and not WHOLE_NUMBER.fullmatch(value):
        raise ValueError('must be a whole number such as 5 or "5"')
    if isinstance(value, float) and not (math.isfinite(value) and value.is_integer()):
        raise ValueError("must be a whole number")
    return value


Text = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=200), AfterValidator(_visible)
]

Attempts = Annotated[
    int,
    Field(ge=1, le=MAX_ATTEMPTS),
    BeforeValidator(_whole_number),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": MAX_ATTEMPTS},
                {"type": "string", "pattern": "^([1-9][0-9]?|100)$"},
            ],
            "default": 5,
        }
    ),
]


class BookRequest(BaseModel):
    """A trip to book: one car, one hotel and one flight for one traveller."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Text = Field(description="The traveller's name.", examples=["John Doe"])
    attempts: Attempts = Field(default=5, description="The most tries of each booking step.")
    car: Text = Field(description="The id of the car.", examples=["valid-car-id"])
    hotel: Text = Field(description="The id of the hotel.", examples=["valid-hotel-id"])
    flight: Text = Field(description="The id of the flight.", examples=["valid-flight-id"])


class Booked(BaseModel):
    """The trip is booked."""

    cancelled: Literal[False] = False
    user_id: str
    car: str
    hotel: str
    flight: str
    result: str


class RolledBack(BaseModel):
    """The trip could not be booked, or was cancelled, and nothing of it is held."""

    cancelled: Literal[True] = True
    user_id: str
    result: Literal["Voyage cancelled"] = "Voyage cancelled"
    reason: str


class Accepted(BaseModel):
    """The trip goes on; `location` tells where to look."""

    user_id: str
    status: Literal["running"] = "running"
    location: str


class Step(BaseModel):
    """How far one step of a trip has come."""

    kind: Kind
    item: str
    state: StepState
    attempts: int
    undo_attempts: int
    last_error: str | None
    note: str | None


class Links(BaseModel):
    """Where to go on from a booking."""

    self: str
    web_ui: str


class Booking(BaseModel):
    """A trip as it stands now."""

    user_id: str
    status: TripStatus
    stale: bool = Field(
        description="True when no worker could be asked: then `steps` may lag behind the trip."
    )
    reason: str | None = Field(description="Why a trip was rolled back or cancelled.")
    steps: list[Step]
    reservations: dict[Kind, str] = Field(description="What is held for the trip.")
    started_at: dt.datetime
    closed_at: dt.datetime | None
    links: Links


class Health(BaseModel):
    """The service is alive, or ready."""

    status: Literal["ok"] = "ok"
