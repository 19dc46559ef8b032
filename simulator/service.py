"""The simulated suppliers over HTTP: the contract, and calls that set the faults.

Faults break calls of the contract, on the way in or out. They never break the other calls.
"""

import logging
import random
from asyncio import sleep as _sleep
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from typing import Annotated, TypeVar

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from shared import KINDS
from simulator.answers import SimulatedAnswer, SimulatedSuppliers
from simulator.behaviour import BEFORE, Item, SimulatedFaults, Way

logger = logging.getLogger(__name__)

LARGEST_REQUEST = 64 * 1024
"""Bytes."""

HTML = "<!doctype html>\n<title>Oops</title>\n" + "<p>Something went wrong.</p>\n" * 107_000
"""3 MB."""

NO_FAULTS = SimulatedFaults()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Body = TypeVar("Body", bound=BaseModel)


class _ReservationOrder(BaseModel):
    """The body of a PUT of the contract."""

    item: Annotated[str, Field(min_length=1, max_length=1_000)]
    hold_until: AwareDatetime | None = None


class SimulatorService:
    """The routes around the suppliers."""

    def __init__(
        self,
        suppliers: SimulatedSuppliers,
        token: str | None = None,
        slow_seconds: float = 5.0,
        faults: SimulatedFaults = NO_FAULTS,
        seed: int | None = None,
    ) -> None:
        self._suppliers = suppliers
        self._token = token
        self._slow_seconds = slow_seconds
        self._faults = faults
        self._chance = random.Random(seed)  # noqa: S311 - nothing secret

    def app(self) -> web.Application:
        """Return it as an aiohttp application."""
        app = web.Application(
            middlewares=[_problems, self._let_in], client_max_size=LARGEST_REQUEST
        )
        for kind in KINDS:
            path = f"/{kind}s/reservations/{{id:[^/]+}}"
            for method in ("PUT", "GET", "DELETE"):
                app.router.add_route(method, path, partial(self._perhaps_broken, kind))
            app.router.add_post(f"{path}/confirm", partial(self._perhaps_broken, kind))
        app.router.add_put("/faults", self._set_faults)
        app.router.add_delete("/faults", self._set_faults)
        app.router.add_get("/reservations", self._list)
        app.router.add_get("/livez", _livez)
        return app

    async def _perhaps_broken(self, kind: str, request: web.Request) -> web.Response:
        """Do a call of the contract and answer it, or break it as the faults say."""
        late_seconds = self._suppliers.mode.late_seconds
        way = self._faults.choose(request.method, late_seconds, self._chance)
        if way in BEFORE:
            return _broken(request, way)
        answer = await self._answer(kind, request, late=way == "late")
        if way == "slow":
            await _sleep(self._slow_seconds)
        if answer.cut_off:
            return _cut(request)
        if way not in (None, "slow", "late"):
            return _broken(request, way)
        said = _said(answer)
        said.headers["Date"] = formatdate(self._suppliers.now(), usegmt=True)
        return said

    async def _answer(self, kind: str, request: web.Request, late: bool) -> SimulatedAnswer:
        trip_id = request.match_info["id"]
        if request.method == "GET":
            return self._suppliers.find(kind, trip_id)
        if request.method == "DELETE":
            if self._suppliers.is_slow(kind, trip_id):
                await _sleep(self._slow_seconds)
            return self._suppliers.cancel(kind, trip_id)
        if request.method == "POST":
            if self._suppliers.is_slow(kind, trip_id):
                await _sleep(self._slow_seconds)
            return self._suppliers.confirm(kind, trip_id)
        order = await _body(request, _ReservationOrder)
        if "slow" in Item.named(order.item).words:
            await _sleep(self._slow_seconds)
        until = order.hold_until.timestamp() if order.hold_until else None
        return self._suppliers.book(kind, trip_id, order.item, late, until)

    async def _set_faults(self, request: web.Request) -> web.Response:
        is_end = request.method == "DELETE"
        self._faults = NO_FAULTS if is_end else await _body(request, SimulatedFaults)
        logger.info("Faults: %s", self._faults)
        return web.json_response(self._faults.model_dump())

    async def _list(self, _request: web.Request) -> web.Response:
        names = ("kind", "trip_id", "item", "state", "reference")
        rows = self._suppliers.rows()
        return web.json_response([{name: getattr(row, name) for name in names} for row in rows])

    @web.middleware
    async def _let_in(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        may_come = self._token is None or request.path == "/livez"
        if may_come or request.headers.get("Authorization") == f"Bearer {self._token}":
            return await handler(request)
        refused = _said(SimulatedAnswer.problem(HTTPStatus.UNAUTHORIZED, "Say who you are"))
        refused.headers["WWW-Authenticate"] = "Bearer"
        return refused


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer with a problem where aiohttp would with a text."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _said(SimulatedAnswer.problem(HTTPStatus(error.status), error.text or error.reason))


async def _livez(_request: web.Request) -> web.Response:
    return web.json_response({"status": "alive"})


async def _body(request: web.Request, form: type[Body]) -> Body:
    try:
        return form.model_validate_json(await request.read())
    except ValidationError as error:
        raise web.HTTPBadRequest(text=error.errors()[0]["msg"]) from None


def _said(answer: SimulatedAnswer) -> web.Response:
    is_problem = answer.status >= HTTPStatus.BAD_REQUEST
    headers = {} if answer.wait is None else {"Retry-After": str(answer.wait)}
    return web.json_response(
        answer.body,
        status=answer.status,
        headers=headers,
        content_type="application/problem+json" if is_problem else "application/json",
    )


def _broken(request: web.Request, way: Way | None) -> web.Response:
    match way:
        case "cut before" | "cut after":
            return _cut(request)
        case "busy":
            busy = HTTPStatus.TOO_MANY_REQUESTS
            return _said(SimulatedAnswer.problem(busy, "The supplier is busy", wait=1))
        case "garbled":
            text = '{"state": "confirmed", "item": "'
            return web.Response(text=text, content_type="application/json")
        case "html":
            return web.Response(text=HTML, content_type="text/html")
        case "redirect":
            return web.Response(status=307, headers={"Location": "/elsewhere"})
        case "maybe":
            return web.json_response({"state": "maybe"})
        case "wrong item":
            another = {"state": "confirmed", "item": "another one", "reference": "WRONG1"}
            return web.json_response(another)
    return _said(SimulatedAnswer.problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong"))


def _cut(request: web.Request) -> web.Response:
    """Close the connection without sending an answer."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()
