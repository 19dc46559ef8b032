"""Examples of answers for the API's document: trips as they may stand, of all the kinds there are.

It knows what trips consist of, and nothing of the models in `api.schemas` that show it.
"""

from typing import Any

from shared import CANCELLED, KINDS, ActionName, Kind, StepState, TripStatus

TRIP_ID = "john-doe-18494203912041849420391204123"
LOCATION = f"/bookings/{TRIP_ID}"
CURSOR = "WyIyMDk5LTEyLTMxVDIzOjU5OjU5KzAwOjAwIiwgImpvaG4tZG9lIl0="
"""Of a first page. An importer that sends it as it stands gets the newest trips."""
PRICE = {"amount": "120.00", "currency": "EUR"}
ITEMS = {kind: f"valid-{kind}-id" for kind in KINDS}
STARTED_AT, CLOSED_AT = "2026-01-31T12:00:00.250000Z", "2026-01-31T12:00:02.500000Z"
LINKS = {
    "self": LOCATION,
    "web_ui": f"http://localhost:8233/namespaces/default/workflows/{TRIP_ID}/0198e0c2/timeline",
}


def _step(kind: Kind, state: StepState, **changes: Any) -> dict[str, Any]:
    undone = state == "undone"
    return {
        "kind": kind,
        "item": ITEMS[kind],
        "state": state,
        "attempts": 1,
        "undo_attempts": int(undone),
        "last_error": None,
        "note": None,
        "reference": "QK7R2M",
        "booking_seconds": 0.684,
        "undo_seconds": 0.231 if undone else None,
        "price": PRICE,
        "refund": PRICE if undone else None,
    } | changes


def _action(action: ActionName, caller: str, kind: Kind | None) -> dict[str, Any]:
    return {"at": CLOSED_AT, "caller": caller, "action": action, "kind": kind, "note": None}


def _trip(status: TripStatus, *steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "user_id": TRIP_ID,
        "status": status,
        "reason": None,
        "expires_at": None,
        "price": None,
        "steps": list(steps),
        "reservations": {},
        "actions": [],
        "started_at": STARTED_AT,
        "closed_at": CLOSED_AT,
        "links": LINKS,
    } | changes


STUCK, FAILED = KINDS[-2:]

TRIPS = [
    _trip("booked", *(_step(kind, "booked") for kind in KINDS), reservations=ITEMS),
    _trip(
        "cancelled",
        *(_step(kind, "undone") for kind in KINDS),
        reason=CANCELLED,
        actions=[_action("cancel", "shop", None)],
    ),
    _trip(
        "needs_attention",
        *(_step(kind, "undone") for kind in KINDS[:-2]),
        _step(STUCK, "stuck", undo_attempts=10, last_error=f"The {STUCK} cannot be cancelled"),
        _step(FAILED, "undone", last_error=f"No such {FAILED}", reference=None),
        reservations={STUCK: ITEMS[STUCK]},
        actions=[_action("retry", "desk", STUCK)],
        closed_at=None,
    ),
]
"""As a look-up tells of them: one that is booked, one that was cancelled, and one that could not be
booked and waits for an operator to repair an undo."""

EVENT = {
    "id": "evt_1c1f6b2ad2f94d4a8c0a4b8b6a9f3e57",
    "type": "trip.booked",
    "timestamp": CLOSED_AT,
    "data": {"user_id": TRIP_ID, "status": "booked", "sequence": 1},
}

LISTED = {
    "user_id": TRIP_ID,
    "status": "booked",
    "name": "John Doe",
    **{str(kind): item for kind, item in ITEMS.items()},
    "started_at": STARTED_AT,
    "closed_at": CLOSED_AT,
    "links": LINKS,
}
"""As a list tells of a trip."""
