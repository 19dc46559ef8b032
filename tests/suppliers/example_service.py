"""A small stand-in for the API of the example's airline, over real HTTP.

As that one it makes a new order of every POST, and lists an order only a while after it was made.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

PENDING_SECONDS = 3.0


@dataclass
class Order:
    """An order, with the time at which it was made."""

    id: str
    offer: str
    client_reference: str
    made: float
    cancelled: bool = False


class AirlineService:
    """The API. `clock` tells the seconds; `found_after` as many an order can be searched."""

    def __init__(self, clock: Callable[[], float], found_after: float) -> None:
        self._clock = clock
        self._found_after = found_after
        self._numbers = itertools.count(1)
        self._orders: dict[str, Order] = {}

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/air/orders", self._create)
        app.router.add_get("/air/orders", self._search)
        app.router.add_post("/air/orders/{id}/actions/cancel", self._cancel)
        return app

    async def _create(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        offer = wanted["offer"]
        if "unknown" in offer:
            return _error(404, "This offer does not exist any more")
        if "sold-out" in offer:
            return _error(422, "There is no seat left")
        order_id = f"ord_{next(self._numbers)}"
        order = Order(order_id, offer, wanted["client_reference"], self._clock())
        self._orders[order_id] = order
        told = self._told(order)
        return web.json_response(told, status=202 if told["status"] == "pending" else 201)

    async def _search(self, request: web.Request) -> web.Response:
        latest = self._clock() - self._found_after
        found = [
            self._told(order)
            for order in self._orders.values()
            if order.client_reference == request.query["client_reference"] and order.made <= latest
        ]
        return web.json_response({"orders": found})

    async def _cancel(self, request: web.Request) -> web.Response:
        order = self._orders[request.match_info["id"]]
        order.cancelled = True
        return web.json_response(self._told(order))

    def _told(self, order: Order) -> dict[str, Any]:
        waits = "pending" in order.offer and self._clock() < order.made + PENDING_SECONDS
        status = "cancelled" if order.cancelled else "pending" if waits else "confirmed"
        reference = f"RZ{order.id.rpartition('_')[2]:0>4}"
        return {"id": order.id, "status": status, "booking_reference": reference}


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)
