"""The simulated suppliers over HTTP: the contract, and calls that set mode and faults.

Faults break calls of the contract, on the way in or out. They never break the other calls.
"""

import logging
import random
import secrets
from asyncio import sleep as _sleep
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import Annotated, TypeVar
from urllib.parse import unquote

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared import KINDS
from simulator.answers import SimulatedAnswer, SimulatedSuppliers
from simulator.behaviour import BEFORE, Item, Mode, SimulatedFaults, Way

logger = logging.getLogger(__name__)

LARGEST_REQUEST = 64 * 1024
"""Bytes."""

HTML = "<!doctype html>\n<title>Oops</title>\n" + "<p>Something went wrong.</p>\n" * 107_000
"""3 MB."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Call = Callable[[str, web.Request, bool], Awaitable[SimulatedAnswer]]
Body = TypeVar("Body", bound=BaseModel)


class _ReservationOrder(BaseModel):
    """The body of a PUT of the contract."""

    model_config = ConfigDict(strict=True)

    item: Annotated[str, Field(min_length=1, max_length=1_000)]


class _Capacity(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    capacity: Annotated[int, Field(ge=0, le=10**12)]


class SimulatorService:
    """The routes around the suppliers."""

    def __init__(
        self,
        suppliers: SimulatedSuppliers,
        token: str | None = None,
        slow_seconds: float = 5.0,
        seed: int | None = None,
    ) -> None:
        self._suppliers = suppliers
        self._stock = suppliers.stock
        self._token = token
        self._slow_seconds = slow_seconds
        self._chance = random.Random(seed)  # noqa: S311 - nothing secret
        self._faults = self._stock.setting(SimulatedFaults())

    def app(self) -> web.Application:
        """Return it as an aiohttp application."""
        app = web.Application(
            middlewares=[_problems, self._let_in], client_max_size=LARGEST_REQUEST
        )
        routes = app.router
        calls: dict[str, Call] = {"PUT": self._book, "GET": self._find, "DELETE": self._cancel}
        for kind in KINDS:
            for method, call in calls.items():
                path = f"/{kind}s/reservations/{{id:[^/]+}}"
                routes.add_route(method, path, partial(self._perhaps_broken, kind, call))
            path = f"/{kind}s/items/{{id:[^/]+}}"
            routes.add_put(path, partial(self._set_capacity, kind))
            routes.add_get(path, partial(self._show_item, kind), allow_head=False)
        routes.add_get("/faults", self._show_faults)
        routes.add_put("/faults", self._set_faults)
        routes.add_delete("/faults", self._end_faults)
        routes.add_get("/mode", self._show_mode)
        routes.add_put("/mode", self._set_mode)
        routes.add_get("/reservations", self._audit)
        routes.add_get("/livez", _livez)
        return app

    async def _perhaps_broken(self, kind: str, call: Call, request: web.Request) -> web.Response:
        """Do a call of the contract and answer it, or break it as the faults say."""
        late_seconds = self._suppliers.mode.late_seconds
        way = self._faults.choose(request.method, late_seconds, self._chance)
        if way in BEFORE:
            return _broken(request, way)
        answer = await call(kind, request, way == "late")
        if way == "slow":
            await _sleep(self._slow_seconds)
        if answer.cut_off:
            return _cut(request)
        return _said(answer) if way in (None, "slow", "late") else _broken(request, way)

    async def _book(self, kind: str, request: web.Request, late: bool) -> SimulatedAnswer:
        trip_id, order = _id(request), await _body(request, _ReservationOrder)
        if "slow" in Item.named(order.item).words:
            await _sleep(self._slow_seconds)
        return self._suppliers.book(kind, trip_id, order.item, late)

    async def _find(self, kind: str, request: web.Request, _late: bool) -> SimulatedAnswer:
        return self._suppliers.find(kind, _id(request))

    async def _cancel(self, kind: str, request: web.Request, _late: bool) -> SimulatedAnswer:
        trip_id = _id(request)
        if self._suppliers.is_slow(kind, trip_id):
            await _sleep(self._slow_seconds)
        return self._suppliers.cancel(kind, trip_id)

    async def _set_capacity(self, kind: str, request: web.Request) -> web.Response:
        item, wanted = Item.named(_id(request)), await _body(request, _Capacity)
        with self._suppliers.transaction() as shelves:
            shelves.set_capacity(kind, item, wanted.capacity)
        return await self._show_item(kind, request)

    async def _show_item(self, kind: str, request: web.Request) -> web.Response:
        with self._suppliers.transaction() as shelves:
            return web.json_response(shelves.places(kind, Item.named(_id(request)))._asdict())

    async def _show_faults(self, _request: web.Request) -> web.Response:
        return _json(self._faults)

    async def _set_faults(self, request: web.Request) -> web.Response:
        return self._rule_faults(await _body(request, SimulatedFaults))

    async def _end_faults(self, _request: web.Request) -> web.Response:
        return self._rule_faults(SimulatedFaults())

    def _rule_faults(self, faults: SimulatedFaults) -> web.Response:
        self._stock.keep(faults)
        self._faults = faults
        logger.info("Faults: %.0f%% of the calls", faults.share * 100)
        return _json(faults)

    async def _show_mode(self, _request: web.Request) -> web.Response:
        return _json(self._suppliers.mode)

    async def _set_mode(self, request: web.Request) -> web.Response:
        """Change those parts of the mode that the body names."""
        named = await _body(request, Mode)
        mode = self._suppliers.mode.model_copy(update=named.model_dump(exclude_unset=True))
        self._stock.keep(mode)
        self._suppliers.mode = mode
        logger.info("Mode: %s", mode)
        return _json(mode)

    async def _audit(self, _request: web.Request) -> web.Response:
        with self._suppliers.transaction() as shelves:
            rows = shelves.rows()
        names = ("kind", "trip_id", "item", "state", "reference")
        return web.json_response([{name: getattr(row, name) for name in names} for row in rows])

    @web.middleware
    async def _let_in(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        sent = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if self._token is None or request.path == "/livez":
            return await handler(request)
        if secrets.compare_digest(sent, f"Bearer {self._token}".encode()):
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


def _id(request: web.Request) -> str:
    """Return what the address names: any text, percent-encoded."""
    try:
        return unquote(request.rel_url.raw_path.rpartition("/")[2], errors="strict")
    except UnicodeDecodeError:
        raise web.HTTPBadRequest(text="The address is not UTF-8") from None


async def _body(request: web.Request, form: type[Body]) -> Body:
    try:
        return form.model_validate_json(await request.read())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise web.HTTPBadRequest(text=f"{where}: {first['msg']}") from None


def _json(setting: SimulatedFaults | Mode) -> web.Response:
    return web.json_response(setting.model_dump())


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
