"""Books, rolls back, does not wait, looks up, lists, cancels and is refused, by a made client."""

import sys

from openapi_client import ApiClient, ApiException, BookingsApi, BookRequest, Configuration

with ApiClient(Configuration(host=sys.argv[1])) as client:
    trips = BookingsApi(client)
    wanted = BookRequest(
        name=" Łukasz", attempts=2, car="valid-car", hotel="valid-hotel", flight="valid-flight"
    )
    booked = trips.book_with_http_info(wanted, idempotency_key="python-1")
    assert booked.status_code == 200
    assert booked.data.cancelled is False
    assert booked.data.car == "Car: valid-car"
    assert booked.data.status is None
    assert trips.book(wanted, idempotency_key="python-1").user_id == booked.data.user_id

    other = wanted.model_copy(update={"hotel": "invalid-hotel"})
    undone = trips.book(other)
    assert undone.cancelled is True
    assert undone.reason
    assert undone.car is None

    accepted = trips.book_with_http_info(wanted, prefer="respond-async")
    assert accepted.status_code == 202
    assert accepted.data.cancelled is None
    assert accepted.data.status == "running"
    assert accepted.data.location == f"/bookings/{accepted.data.user_id}"

    found = trips.get_booking(accepted.data.user_id, wait=20)
    assert found.status == "booked"
    assert [step.state for step in found.steps] == ["booked"] * 3
    assert found.reservations["hotel"] == "valid-hotel"
    assert found.closed_at >= found.started_at

    page = trips.list_bookings(limit=2)
    assert [trip.user_id for trip in page.bookings] == [accepted.data.user_id, undone.user_id]
    page = trips.list_bookings(limit=1, cursor=page.next_cursor)
    assert [trip.user_id for trip in page.bookings] == [booked.data.user_id]
    assert page.bookings[0].name == " Łukasz"

    cancelled = trips.cancel_booking(booked.data.user_id)
    assert cancelled.status == "cancelled"
    assert cancelled.reservations == {}

    try:
        trips.book(other, idempotency_key="python-1")
    except ApiException as refused:
        assert refused.status == 422
        assert "another body" in refused.data.detail
    else:
        raise AssertionError("The key was taken with another body")
