"""The requests that the API takes and the answers that it gives, as pydantic models.

They validate, and the OpenAPI document is made from them. They know nothing of Temporal.
"""

import datetime as dt
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from api import examples
from api.fields import Attempts, HoldSeconds, IdempotencyKey, Text
from shared import KINDS, ActionName, Kind, Price, StepState, TripStatus

LONGEST_WAIT = 25.0
"""Seconds that a look-up waits at the most: proxies and platforms give up after 30 to 60."""
WAIT = re.compile(r'wait[ \t]*=[ \t]*"?([0-9]{1,9})"?')


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default")


class BookRequest(BaseModel):
    """A trip to book for one traveller: one item of each kind, all of them or none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Text = Field(description="The traveller's name.", examples=["John Doe"])
    attempts: Attempts = Field(
        default=5,
        description="After so many failures of its supplier a step is given up.",
        examples=[5],
    )
    car: Text = Field(description="The car's id.", examples=["valid-car-id"])
    hotel: Text = Field(description="The hotel's id.", examples=["valid-hotel-id"])
    flight: Text = Field(description="The flight's id.", examples=["valid-flight-id"])
    # Left out, they are none. Null is refused: clients in Go and Java read no type with a null.
    hold_seconds: HoldSeconds = Field(
        default=cast(Any, None),
        description="Hold the trip for so many seconds, and book it once it is confirmed. Without "
        "it the trip is booked at once.",
        json_schema_extra=_without_default,
    )
    max_price: Price = Field(
        default=cast(Any, None),
        description="Book nothing if the trip costs more, or if nobody tells what it costs.",
        json_schema_extra=_without_default,
    )


class BookHeaders(BaseModel):
    """What a booking request may say in its headers."""

    key: IdempotencyKey | None = Field(
        default=None,
        alias="Idempotency-Key",
        description="Makes a repeated request the same booking "
        "(draft-ietf-httpapi-idempotency-key-header): a quoted string, which may be bare when it "
        "has no blank, comma, quote or backslash.",
        examples=["3f29a1c4-trip-to-lisbon"],
    )
    prefer: str = Field(
        default="",
        alias="Prefer",
        description="`respond-async` answers 202 at once, `wait=5` after five seconds (RFC 7240).",
        examples=["respond-async", "wait=5"],
    )

    def patience(self, most: float) -> tuple[float, str]:
        """Return how many seconds to wait, `most` at the most, and the preference that says so."""
        given = [part.partition(";")[0].strip().lower() for part in self.prefer.split(",")]
        if "respond-async" in given:
            return 0, "respond-async"
        waits = [int(match[1]) for match in map(WAIT.fullmatch, given) if match]
        return (waits[0], f"wait={waits[0]}") if waits and waits[0] < most else (most, "")


class ResolveRequest(BaseModel):
    """An operator's word that a stuck undo is settled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    note: Text = Field(
        description="How it was settled.", examples=["Cancelled by phone with the hotel."]
    )


class TripPath(BaseModel):
    """Which booking is meant."""

    user_id: str = Field(
        min_length=1,
        description="The booking's id, as the answer to its request told it.",
        examples=[examples.TRIP_ID],
    )


class StepPath(TripPath):
    """Which step of a booking is meant."""

    kind: Kind = Field(description="Which step's undo is meant.", examples=[KINDS[1]])


class EventPath(BaseModel):
    """Which event is meant."""

    event_id: str = Field(
        min_length=1, description="The event's id.", examples=[examples.EVENT["id"]]
    )


class WaitQuery(BaseModel):
    """How long a look-up waits for the trip to end."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    wait: float = Field(
        default=0,
        ge=0,
        le=60,
        allow_inf_nan=False,
        description="Seconds to wait for a running trip to end. More than "
        f"{LONGEST_WAIT:.0f} count as {LONGEST_WAIT:.0f}.",
        examples=[20],
    )


class PageQuery(BaseModel):
    """Which bookings to list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: TripStatus | None = Field(
        default=None,
        description="Only trips of this status. `held`: until it is confirmed. `rolled_back`: "
        "could not be booked. `expired`: was held, and not confirmed in time. `cancelled`: "
        "somebody has cancelled it. Nothing is held of these three.",
        examples=["booked"],
    )
    limit: int = Field(
        default=20, ge=1, le=100, description="The most bookings of a page.", examples=[50]
    )
    cursor: str | None = Field(
        default=None,
        max_length=2_000,
        description="The `next_cursor` of the page before.",
        examples=[examples.CURSOR],
    )


class EventQuery(BaseModel):
    """Which events to list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    after: str = Field(
        default="0",
        pattern="^[0-9]{1,18}$",
        description="The `next_cursor` of the answer before. `0`: from the first event on.",
        examples=["0"],
    )
    limit: int = Field(
        default=100, ge=1, le=100, description="The most events of an answer.", examples=[100]
    )


def _examples(*values: dict[str, Any]) -> ConfigDict:
    """Return the configuration of a model whose schema shows `values` as its examples."""

    def show(schema: dict[str, Any]) -> None:
        schema["examples"] = list(values)
        # An answer may have further fields one day: no client is to count on their absence.
        schema.pop("additionalProperties", None)

    return ConfigDict(json_schema_extra=show)


def told(items: Mapping[Kind, str], *, result: bool = True) -> dict[str, Any]:
    """Return what `BookAnswer` says of the items of a trip: of each, and of all once booked."""
    each: dict[str, Any] = {kind: f"{kind.capitalize()}: {item}" for kind, item in items.items()}
    if result:
        each["result"] = " ".join(f"Booked {kind}: {item}" for kind, item in items.items())
    return each


Present = TypeVar("Present")
Perhaps = Annotated[
    Present | SkipJsonSchema[None],
    Field(
        exclude_if=lambda value: value is None,
        json_schema_extra=_without_default,
    ),
]
"""A field that some answers have and others leave out. It is never null."""


class BookAnswer(BaseModel):
    """`cancelled` tells how a trip ended. One without it has a `status`; it is held, or goes on."""

    # One flat object for 200 and 202: generators make clients that read any 2xx by one schema.

    # A kind that has no field here would be left out of the answer in silence.
    model_config = ConfigDict(
        **_examples(
            {"cancelled": False, "user_id": examples.TRIP_ID, **told(examples.ITEMS)},
            {
                "cancelled": True,
                "user_id": examples.TRIP_ID,
                "result": "Voyage cancelled",
                "reason": "Invalid hotel booking, rolling back!",
            },
            {"user_id": examples.TRIP_ID, "status": "running", "location": examples.LOCATION},
            {
                "user_id": examples.TRIP_ID,
                **told(examples.ITEMS, result=False),
                "status": "held",
                "expires_at": examples.CLOSED_AT,
                "price": examples.PRICE,
            },
        ),
        extra="forbid",
    )

    cancelled: Perhaps[bool] = Field(
        default=None,
        description="`false`: the trip is booked. `true`: nothing of it is held, because it could "
        "not be booked or was cancelled; the look-up's `status` tells which.",
    )
    cancelled_later: Perhaps[bool] = Field(
        default=None,
        description="`true`: the trip was booked, as the answer says, and cancelled since.",
    )
    user_id: str
    car: Perhaps[str] = None
    hotel: Perhaps[str] = None
    flight: Perhaps[str] = None
    result: Perhaps[str] = None
    reason: Perhaps[str] = Field(default=None, description="Why nothing is held.")
    status: Perhaps[TripStatus] = Field(
        default=None,
        description="Of a trip that is held or goes on, or that was stopped from outside.",
    )
    expires_at: Perhaps[dt.datetime] = Field(
        default=None, description="Until when a trip is held that nobody confirms."
    )
    price: Perhaps[Price] = Field(
        default=None, description="What it costs, if all its suppliers tell that in one currency."
    )
    location: Perhaps[str] = Field(
        default=None, description="Where to look for a trip that is not over."
    )


class BookingStep(BaseModel):
    """How far one step of a trip has come."""

    kind: Kind
    item: str = Field(description="What is booked of the kind.")
    state: StepState = Field(
        description="`pending`: not tried, and never will be if the trip is over or goes back. "
        "`held`: until the trip is confirmed. `quoted`: its supplier holds nothing, and it is "
        "booked at the confirm. `failed`: could not be booked and is not yet undone. `undone`: "
        "nothing is held; it never was if `booking_seconds` and `undo_seconds` are null. `stuck`: "
        "an undo that needs attention. `resolved`: an operator has declared it settled."
    )
    attempts: int = Field(
        description="The supplier's failures to book it, and the try that runs or has succeeded."
    )
    undo_attempts: int = Field(
        description="The supplier's failures to undo it, and the try that runs or has succeeded."
    )
    last_error: str | None = Field(
        description="What the supplier said when it failed last, or that an operator paused it."
    )
    note: str | None = Field(description="What the operator wrote who settled it.")
    reference: str | None = Field(description="The supplier's own name for the booking.")
    booking_seconds: float | None = Field(
        description="How long it took to book the step, all tries and waits included; null unless "
        "it was booked."
    )
    undo_seconds: float | None = Field(
        description="How long the undo took that succeeded, all its tries and waits included; "
        "null until then, and if nothing was held."
    )
    price: Price | None = Field(description="What it costs; null if its supplier tells nothing.")
    refund: Price | None = Field(
        description="What its supplier gives back for the undo; null if it tells nothing."
    )


class BookingAction(BaseModel):
    """What a caller has had done to a trip."""

    at: dt.datetime
    caller: str = Field(description="The name of the caller's API key.")
    action: ActionName = Field(
        description="`confirm`: book what is held. `cancel`: undo the trip. `retry`: try a stuck "
        "undo again. `resolve`: declare it settled."
    )
    kind: Kind | None = Field(description="Whose undo was repaired; null for the whole trip.")
    note: str | None = Field(description="How it was settled; null unless it was.")


class Links(BaseModel):
    """Where to go on from a booking."""

    self: str = Field(description="Its look-up: a URL where `PUBLIC_URL` is set, else a path.")
    web_ui: str = Field(description="The timeline of its run in Temporal's Web UI.")


class Booking(BaseModel):
    """A trip as it stands now."""

    model_config = _examples(*examples.TRIPS)

    user_id: str
    status: TripStatus
    reason: str | None = Field(description="Why a trip was rolled back, or expired, or cancelled.")
    expires_at: dt.datetime | None = Field(
        description="Until when the trip is held, or was; null if it never was."
    )
    price: Price | None = Field(
        description="What it costs, if all its suppliers tell that in one currency."
    )
    steps: list[BookingStep]
    reservations: dict[Kind, str] = Field(description="What is held for the trip.")
    actions: list[BookingAction] = Field(
        description="What callers had done to the trip, the latest 100, in their order."
    )
    started_at: dt.datetime
    closed_at: dt.datetime | None
    links: Links


class BookingSummary(BaseModel):
    """A trip in a list. Trips that are older than a kind have none of it."""

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
    """A page of bookings, the newest first."""

    model_config = _examples({"bookings": [examples.LISTED], "next_cursor": None})

    bookings: list[BookingSummary]
    next_cursor: str | None = Field(description="Asks for the next page; null on the last one.")


class TripEventData(BaseModel):
    """What has become of which trip."""

    user_id: str
    status: TripStatus
    sequence: int = Field(
        description="Counts the events of the trip, from 1. What has the highest is true now."
    )


class TripEvent(BaseModel):
    """A change of a trip's status to any but `running`."""

    model_config = _examples(examples.EVENT)

    id: str
    type: str = Field(description="`trip.` and the status.")
    timestamp: dt.datetime
    data: TripEventData


class EventPage(BaseModel):
    """Events, the oldest first."""

    model_config = _examples({"events": [examples.EVENT], "next_cursor": "1024"})

    events: list[TripEvent]
    next_cursor: str = Field(
        description="Asks, as `after`, for the events that follow, also for those to come."
    )


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

    model_config = _examples({"status": "ok"})

    status: Literal["ok"] = "ok"
