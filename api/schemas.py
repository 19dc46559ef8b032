"""The requests that the API takes and the answers that it gives, as pydantic models.

They validate, and the OpenAPI document is made from them. They know nothing of Temporal.
"""

import datetime as dt
import math
import re
import unicodedata
from typing import Annotated, Any, Literal

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
CONTROL_FREE = r"^[^\u0000-\u001f\u007f-\u009f]+$"


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
    str,
    StringConstraints(strict=True, min_length=1, max_length=200),
    AfterValidator(_visible),
    # What `_visible` wants, as far as JSON Schema can say it.
    Field(json_schema_extra={"pattern": CONTROL_FREE, "allOf": [{"pattern": r"\S"}]}),
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
            "examples": [5, "5"],
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


class BookHeaders(BaseModel):
    """What a booking request may say in its headers."""

    idempotency_key: str | None = Field(
        default=None,
        alias="Idempotency-Key",
        # The draft has the key as a quoted string; most clients send it bare.
        pattern=r'^([A-Za-z0-9_-]{1,255}|"[A-Za-z0-9_-]{1,255}")$',
        description="Makes a repeated request the same booking "
        "(draft-ietf-httpapi-idempotency-key-header).",
        examples=["3f29a1c4-trip-to-lisbon"],
    )
    prefer: str = Field(
        default="",
        alias="Prefer",
        description="`respond-async` answers 202 at once (RFC 7240).",
        examples=["respond-async"],
    )

    @property
    def key(self) -> str | None:
        """The idempotency key, without the quotes it may have come in."""
        return self.idempotency_key and self.idempotency_key.strip('"')

    @property
    def respond_async(self) -> bool:
        """Whether the caller would rather not wait."""
        preferences = (part.partition(";")[0].strip() for part in self.prefer.split(","))
        return "respond-async" in (preference.lower() for preference in preferences)


class ResolveRequest(BaseModel):
    """An operator's word that a stuck undo is settled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    note: Text = Field(
        description="How it was settled.", examples=["Cancelled by phone with the hotel."]
    )


class WaitQuery(BaseModel):
    """How long a look-up waits for the trip to end."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    wait: float = Field(
        default=0,
        ge=0,
        le=60,
        allow_inf_nan=False,
        description="Seconds to wait for a running trip to end, at the most.",
    )


class PageQuery(BaseModel):
    """Which bookings to list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: TripStatus | None = Field(default=None, description="Only trips of this status.")
    limit: int = Field(default=20, ge=1, le=100, description="The most bookings of a page.")
    cursor: str | None = Field(
        default=None, max_length=2_000, description="The `next_cursor` of the page before."
    )


EXAMPLE_ID = "john-doe-18494203912041849420391204123"
EXAMPLE_LOCATION = f"/bookings/{EXAMPLE_ID}"
EXAMPLE_ITEMS = {"car": "valid-car-id", "hotel": "valid-hotel-id", "flight": "valid-flight-id"}
EXAMPLE_TIMES = {
    "started_at": "2026-01-31T12:00:00.250000Z",
    "closed_at": "2026-01-31T12:00:02.500000Z",
}
EXAMPLE_LINKS = {
    "self": EXAMPLE_LOCATION,
    "web_ui": f"http://localhost:8233/namespaces/default/workflows/{EXAMPLE_ID}/0198e0c2/history",
}


def _example(**values: Any) -> ConfigDict:
    """Return the configuration of a model whose schema shows `values` as its example."""
    return ConfigDict(json_schema_extra={"examples": [values]})


class Booked(BaseModel):
    """The trip is booked."""

    model_config = _example(
        cancelled=False,
        user_id=EXAMPLE_ID,
        car="Car: valid-car-id",
        hotel="Hotel: valid-hotel-id",
        flight="Flight: valid-flight-id",
        result="Booked car: valid-car-id Booked hotel: valid-hotel-id "
        "Booked flight: valid-flight-id",
    )

    cancelled: Literal[False] = False
    user_id: str
    car: str
    hotel: str
    flight: str
    result: str


class RolledBack(BaseModel):
    """The trip could not be booked, or was cancelled, and nothing of it is held."""

    model_config = _example(
        cancelled=True,
        user_id=EXAMPLE_ID,
        result="Voyage cancelled",
        reason="Invalid hotel booking, rolling back!",
    )

    cancelled: Literal[True] = True
    user_id: str
    result: Literal["Voyage cancelled"] = "Voyage cancelled"
    reason: str


class Accepted(BaseModel):
    """The trip goes on, or was stopped from outside; `location` tells where to look."""

    model_config = _example(user_id=EXAMPLE_ID, status="running", location=EXAMPLE_LOCATION)

    user_id: str
    status: Literal["running", "needs_attention"]
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

    model_config = _example(
        user_id=EXAMPLE_ID,
        status="booked",
        stale=False,
        reason=None,
        steps=[
            {
                "kind": kind,
                "item": item,
                "state": "booked",
                "attempts": 1,
                "undo_attempts": 0,
                "last_error": None,
                "note": None,
            }
            for kind, item in EXAMPLE_ITEMS.items()
        ],
        reservations=EXAMPLE_ITEMS,
        links=EXAMPLE_LINKS,
        **EXAMPLE_TIMES,
    )

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


class BookingSummary(BaseModel):
    """A trip in a list."""

    user_id: str
    status: TripStatus
    name: str
    car: str
    hotel: str
    flight: str
    started_at: dt.datetime
    closed_at: dt.datetime | None
    links: Links


class BookingPage(BaseModel):
    """A page of bookings: the running ones first, then those that ended last."""

    model_config = _example(
        bookings=[
            {
                "user_id": EXAMPLE_ID,
                "status": "booked",
                "name": "John Doe",
                "links": EXAMPLE_LINKS,
                **EXAMPLE_ITEMS,
                **EXAMPLE_TIMES,
            }
        ],
        next_cursor=None,
    )

    bookings: list[BookingSummary]
    next_cursor: str | None = Field(description="Asks for the next page; null on the last one.")


class ProblemField(BaseModel):
    """What is wrong with one field of the input."""

    field: str
    message: str


class ProblemDetails(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemField] = Field(default=[], description="What is wrong, field by field.")
    location: str = Field(
        default="", description="Where to look for a booking that may have started all the same."
    )


class Health(BaseModel):
    """The service is alive, or ready."""

    model_config = _example(status="ok")

    status: Literal["ok"] = "ok"
