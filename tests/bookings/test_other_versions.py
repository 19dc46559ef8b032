"""What another version of the service has recorded: its unknown fields are passed over."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from temporalio.client import Client

from bookings.trips import is_same, steps_of, with_reservations
from record import RecordedTrip, Reservation
from shared import KINDS, StepProgress
from tests.api.api_client import JOHN, Api, api_of, assert_problem, body_of, listed
from tests.bookings.test_listing import NOON

REQUEST = {"name": "Jo", "attempts": 5, "car": "c", "hotel": "h", "flight": "f"}


# What is the same request


@pytest.mark.parametrize(
    ("wanted", "recorded"),
    [
        (REQUEST, REQUEST),
        (REQUEST, dict(reversed(REQUEST.items()))),
        (REQUEST, {name: str(value) for name, value in REQUEST.items()}),  # As memos have them.
        (REQUEST | {"boat": None}, REQUEST),
        (REQUEST | {"boat": "b"}, REQUEST),
        (REQUEST, REQUEST | {"boat": "b"}),
        (REQUEST, {}),
    ],
    ids=str,
)
def test_a_field_that_only_one_of_them_knows_makes_no_difference(
    wanted: dict[str, Any], recorded: dict[str, Any]
) -> None:
    assert is_same(wanted, recorded)


@pytest.mark.parametrize(
    "changes",
    [{"name": "JO"}, {"attempts": 4}, {"car": "c "}, {"hotel": None}, {"flight": "h"}],
    ids=str,
)
def test_any_other_difference_does(changes: dict[str, Any]) -> None:
    assert not is_same(REQUEST | changes, REQUEST)
    assert not is_same(REQUEST, REQUEST | changes | {"boat": "b"})


# A trip's steps


def row(request: dict[str, Any]) -> RecordedTrip:
    return RecordedTrip("jo-1", "shop", request, "running", "jo-1", NOON)


def test_a_kind_that_a_request_leaves_out_or_does_not_know_is_no_step() -> None:
    told = steps_of(row(REQUEST | {"hotel": None, "boat": "b"}))
    assert told == [StepProgress("car", "c"), StepProgress("flight", "f")]
    assert steps_of(row({})) == []


def test_reservations_know_better_than_a_stopped_workflow() -> None:
    steps = [
        StepProgress("car", "c", "booking", attempts=2, last_error="Busy"),
        StepProgress("hotel", "h", "booked", held=True),
        StepProgress("flight", "f", "booking"),
    ]
    rows = [
        Reservation("jo-1", "car", "c", "reserved", "run"),
        Reservation("jo-1", "hotel", "h", "cancelled", "run"),
    ]
    car, hotel, flight = with_reservations(steps, rows)
    assert car == StepProgress("car", "c", "booked", attempts=2, last_error="Busy", held=True)
    assert (hotel.state, hotel.held) == ("undone", False)
    assert (flight.state, flight.held) == ("booking", False)


@pytest.mark.parametrize("state", ["undoing", "stuck"])
def test_what_is_held_while_it_is_undone_is_shown_as_being_undone(state: Any) -> None:
    held = Reservation("jo-1", "car", "c", "reserved", "run")
    (told,) = with_reservations([StepProgress("car", "c", state)], [held])
    assert (told.state, told.held) == (state, True)


def test_an_operators_word_is_not_taken_for_an_undo() -> None:
    settled = Reservation("jo-1", "car", "c", "cancelled", "run")
    (told,) = with_reservations([StepProgress("car", "c", "resolved", note="By phone")], [settled])
    assert (told.state, told.note, told.held) == ("resolved", "By phone", False)


# In the record

Rewrite = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture
def rewrite(own_database: str) -> Callable[[str, Rewrite, Rewrite], None]:
    """Rewrites the request and each step of the one trip in the record."""

    def rewrite(user_id: str, request: Rewrite, step: Rewrite) -> None:
        engine = sa.create_engine(own_database)
        with engine.begin() as sql:
            trip = {"trip_id": user_id}
            found = sql.execute(
                sa.text("SELECT request, steps FROM trips WHERE trip_id = :trip_id"), trip
            ).one()
            written = {
                "request": json.dumps(request(json.loads(found.request))),
                "steps": json.dumps([step(each) for each in json.loads(found.steps)]),
            }
            sql.execute(
                sa.text(
                    "UPDATE trips SET request = :request, steps = :steps WHERE trip_id = :trip_id"
                ),
                trip | written,
            )
        engine.dispose()

    return rewrite


@pytest.fixture
def api(client: Client) -> Api:
    return api_of(client)


def same(value: dict[str, Any]) -> dict[str, Any]:
    return value


@pytest.mark.usefixtures("worker")
async def test_what_a_newer_version_has_recorded_is_understood(
    api: Api, rewrite: Callable[[str, Rewrite, Rewrite], None]
) -> None:
    booked = body_of(await api.book(JOHN, Idempotency_Key="newer"))
    path = f"/bookings/{booked['user_id']}"
    looked_up, (in_list,) = body_of(await api.get(path)), await listed(api)
    rewrite(
        booked["user_id"],
        lambda request: request | {"boat": "a-boat", "insurance": {"level": 3}},
        lambda step: step | {"colour": "red", "held_until": 5},
    )
    assert body_of(await api.book(JOHN, Idempotency_Key="newer")) == booked
    assert body_of(await api.get(path)) == looked_up
    assert await listed(api) == [in_list]
    assert_problem(await api.book(JOHN | {"car": "other"}, Idempotency_Key="newer"), 422)
    cancelled = body_of(await api.call("POST", f"{path}/cancel"))
    assert (cancelled["status"], cancelled["reservations"]) == ("cancelled", {})


@pytest.mark.usefixtures("worker")
async def test_a_step_of_a_kind_that_is_not_known_here_is_passed_over(
    api: Api, rewrite: Callable[[str, Rewrite, Rewrite], None]
) -> None:
    booked = body_of(await api.book(JOHN, Idempotency_Key="boat"))
    path = f"/bookings/{booked['user_id']}"
    rewrite(
        booked["user_id"],
        same,
        lambda step: step | {"kind": "boat"} if step["kind"] == KINDS[-1] else step,
    )
    assert [step["kind"] for step in body_of(await api.get(path))["steps"]] == list(KINDS[:-1])


@pytest.mark.usefixtures("worker")
async def test_what_an_older_version_has_recorded_is_understood(
    api: Api, rewrite: Callable[[str, Rewrite, Rewrite], None]
) -> None:
    booked = body_of(await api.book(JOHN, Idempotency_Key="older"))
    path = f"/bookings/{booked['user_id']}"
    looked_up = body_of(await api.get(path))

    newer = ("held", "note", "booking_seconds", "undo_seconds")

    def older_step(step: dict[str, Any]) -> dict[str, Any]:
        return {name: step[name] for name in step if name not in newer}

    # A field that the API has now, and had not then.
    rewrite(
        booked["user_id"],
        lambda request: {name: request[name] for name in request if name != "attempts"},
        older_step,
    )
    assert body_of(await api.book(JOHN, Idempotency_Key="older")) == booked
    for step in looked_up["steps"]:
        step["booking_seconds"] = None
    assert body_of(await api.get(path)) == looked_up
    assert_problem(await api.book(JOHN | {"name": "Jane"}, Idempotency_Key="older"), 422)
    cancelled = body_of(await api.call("POST", f"{path}/cancel"))
    assert (cancelled["status"], cancelled["reservations"]) == ("cancelled", {})
