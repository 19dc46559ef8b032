"""A trip is one trace, from its request to its suppliers' calls, as a receiver of OTLP gets it."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from shared import KINDS
from tests.processes import Service, free_port, service, supplier_urls, wait_until
from tests.telemetry.receiver import Received, Receiver, receiving, tree

pytestmark = pytest.mark.slow

NAME = "Ada Lovelace"
ITEMS = {str(kind): f"valid-{kind}-Xanadu" for kind in KINDS}
TOKEN = "s3cr3t-t0k3n-of-16"
SECRETS = (NAME, "Lovelace", "Xanadu", TOKEN)
"""What no span and no line of a log may have."""

FROM_OUTSIDE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
"""https://www.w3.org/TR/trace-context/#examples-of-http-traceparent-headers"""


# A failed try tells the class of its error and its words.
BOOKED = """\
POST /book
  StartWorkflow:BookingWorkflow
    RunWorkflow:BookingWorkflow
      StartActivity:book_car
        RunActivity:book_car
          PUT /reservations/{trip_id}
      StartActivity:book_hotel
        RunActivity:book_hotel
          PUT /reservations/{trip_id}
      StartActivity:book_flight
        RunActivity:book_flight
          PUT /reservations/{trip_id}
      StartActivity:record_trip
        RunActivity:record_trip"""

ROLLED_BACK = """\
POST /book
  StartWorkflow:BookingWorkflow
    RunWorkflow:BookingWorkflow
      StartActivity:book_car
        RunActivity:book_car
          PUT /reservations/{trip_id}
      StartActivity:book_hotel
        RunActivity:book_hotel ! SupplierFailed: The hotel supplier failed
          PUT /reservations/{trip_id} ! 503
        RunActivity:book_hotel ! SupplierFailed: The hotel supplier failed
          GET /reservations/{trip_id} ! 404
          PUT /reservations/{trip_id} ! 503
        RunActivity:book_hotel
          GET /reservations/{trip_id} ! 404
          PUT /reservations/{trip_id}
      StartActivity:book_flight
        RunActivity:book_flight ! SupplierRefused: The flight sold-out is sold out
          PUT /reservations/{trip_id} ! 422
      StartActivity:undo_book_flight
        RunActivity:undo_book_flight
      StartActivity:undo_book_hotel
        RunActivity:undo_book_hotel
          DELETE /reservations/{trip_id}
      StartActivity:undo_book_car
        RunActivity:undo_book_car
          DELETE /reservations/{trip_id}
      StartActivity:record_trip
        RunActivity:record_trip"""
"""The hotel failed twice. The flight was refused, so its supplier has nothing to cancel."""

CANCELLED = """\
POST /bookings/<user_id>/cancel
  StartWorkflow:CancelBookingWorkflow
    RunWorkflow:CancelBookingWorkflow
      StartActivity:undo_book_flight
        RunActivity:undo_book_flight
          DELETE /reservations/{trip_id}
      StartActivity:undo_book_hotel
        RunActivity:undo_book_hotel
          DELETE /reservations/{trip_id}
      StartActivity:undo_book_car
        RunActivity:undo_book_car
          DELETE /reservations/{trip_id}
      StartActivity:record_trip
        RunActivity:record_trip"""


@dataclass
class Traced:
    """A service that traces, and what it has sent."""

    running: Service
    receiver: Receiver

    def book(self, headers: dict[str, str] | None = None, **items: str) -> dict[str, Any]:
        body = {"name": NAME, "attempts": 3, **ITEMS, **items}
        answer = self.running.request("POST", "/book", body, headers)
        assert answer.status in (200, 202)
        told: dict[str, Any] = answer.body
        return told

    def trace(self, trip_id: str, whole: str) -> list[Received]:
        """Return a trip's trace once it is `whole`. A try that nobody waits for ends last."""
        root, _, _ = whole.partition("\n")

        def spans() -> list[Received]:
            return self.receiver.trace(trip_id, root)

        with contextlib.suppress(AssertionError):
            wait_until(lambda: tree(spans()) == whole, "the trace is whole", deadline=20)
        assert tree(spans()) == whole
        check(spans(), trip_id)
        return spans()


@pytest.fixture(scope="module")
def traced() -> Iterator[Traced]:
    port = free_port()
    settings: dict[str, Any] = {
        **{f"{kind.upper()}_SUPPLIER_TOKEN": TOKEN for kind in KINDS},
        **supplier_urls(port),
        "LOG_FORMAT": "json",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "RETRY_INTERVAL_SECONDS": "0.01",
    }
    with (
        receiving() as receiver,
        service(**settings, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint) as running,
    ):
        options = ("--port", str(port), "--token", TOKEN)
        suppliers = running.simulated_suppliers(*options)
        suppliers.start()
        suppliers.wait_for_output("Suppliers at")
        running.start()
        yield Traced(running, receiver)


def check(spans: list[Received], trip_id: str) -> None:
    """Check what holds for each span of a trip's trace."""
    assert len({each.span.trace_id for each in spans}) == 1
    assert len({each.span.span_id for each in spans}) == len(spans)
    for each in spans:
        assert each.attributes["booking.trip_id"] == trip_id
        is_of_api = each.name.startswith(("POST", "StartWorkflow", "Query"))
        assert each.service == ("trip-booking-api" if is_of_api else "trip-booking-worker")
        assert each.span.end_time_unix_nano >= each.span.start_time_unix_nano
        assert not any(secret in each.text for secret in SECRETS)


def whole_lines(output: str) -> list[str]:
    return output.split("\n")[:-1]


def test_a_booked_trip_whose_caller_traces_too(traced: Traced) -> None:
    headers = {"traceparent": f"00-{FROM_OUTSIDE}-{PARENT}-01", "tracestate": "shop=7"}
    trip = traced.book(headers)["user_id"]
    spans = traced.trace(trip, BOOKED)
    assert {each.span.trace_id.hex() for each in spans} == {FROM_OUTSIDE}
    assert {each.span.trace_state for each in spans} == {"shop=7"}
    (root,) = (each for each in spans if each.name == "POST /book")
    assert root.span.parent_span_id.hex() == PARENT


def test_a_booked_trip_that_is_cancelled(traced: Traced) -> None:
    trip = traced.book()["user_id"]
    traced.running.request("POST", f"/bookings/{trip}/cancel")
    traced.trace(trip, CANCELLED)


def test_each_line_of_the_logs_leads_to_its_trace_and_tells_nothing_of_the_traveller(
    traced: Traced,
) -> None:
    trips = {
        traced.book()["user_id"]: BOOKED,
        traced.book(hotel="flaky-hotel", flight="sold-out")["user_id"]: ROLLED_BACK,
    }
    traces = {
        trip: traced.trace(trip, whole)[0].span.trace_id.hex() for trip, whole in trips.items()
    }
    stuck = traced.book(
        {"Prefer": "respond-async"}, hotel="non-refundable-hotel", flight="sold-out"
    )["user_id"]
    traced.running.workers[0].wait_for_output("Undo of hotel is stuck")
    written = traced.running.api.output + traced.running.workers[0].output
    assert not any(secret in written for secret in SECRETS)
    lines = [json.loads(line) for line in whole_lines(written)]
    told = [line for line in lines if line["trip_id"] in trips]
    assert {line["logger"] for line in told} >= {"temporalio.activity", "suppliers.over_http"}
    assert any("Completing activity as failed" in line["message"] for line in told)
    for line in told:
        assert line["trace_id"] == traces[line["trip_id"]], line
    assert all(line["trip_id"] != "-" for line in lines if "activity" in line["logger"])
    (told_by_workflow,) = (line for line in lines if line["message"].startswith("Undo of hotel"))
    traces_of_stuck = {line["trace_id"] for line in lines if line["trip_id"] == stuck}
    assert told_by_workflow["trip_id"] == stuck
    assert {told_by_workflow["trace_id"]} == traces_of_stuck != {"-"}


def test_all_spans_are_sent_when_the_processes_stop() -> None:
    settings: dict[str, Any] = {
        "OTEL_BSP_SCHEDULE_DELAY": 3_600_000,
        "OTEL_SERVICE_NAME": "named",
    }
    with (
        receiving() as receiver,
        service(OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, **settings) as running,
    ):
        running.start()
        trip = running.request("POST", "/book", {"name": NAME, **ITEMS}).body["user_id"]
        assert receiver.spans == []
        assert [process.stop() for process in (running.api, *running.workers[:1])] == [0, 0]
    told = receiver.of_trip(trip)
    sent = {"POST /book", "RunWorkflow:BookingWorkflow", "RunActivity:record_trip"}
    assert sent <= {each.name for each in told}
    assert {each.service for each in told} == {"named"}
