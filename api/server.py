"""Serves a Flask app over HTTP: waitress for the sockets, one event loop for all async views.

waitress reads a request whole before a thread takes it, so a slow client costs no thread. Flask's
own way is an event loop for each request; one shared loop costs less CPU and no descriptors, and
lets an orderly stop reach the requests that wait.
"""

import asyncio
import contextlib
import functools
import logging
import resource
import signal
import sys
import threading
import urllib.parse
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import TYPE_CHECKING, Any, Self, cast

import uvloop
from flask import Flask, Response, request
from flask.json.provider import DefaultJSONProvider
from waitress.buffers import OverflowableBuffer
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import BaseWSGIServer, MultiSocketServer, create_server
from waitress.task import ErrorTask
from werkzeug.routing import BaseConverter, Rule

from api.keys import owners_of
from api.options import Options
from api.places import threads_for
from api.problems import MEANING, SECURITY_HEADERS, Problem
from bookings import Bookings, RecordError
from shared import cut

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Server = BaseWSGIServer | MultiSocketServer

logger = logging.getLogger(__name__)

MAX_HEADER_BYTES = 16 * 1024
MAX_BODY_BYTES = 16 * 1024
MAX_UPLOAD_BYTES = 256 * 1024
"""The longest body that any view takes. Of a longer one only the length is kept: the app refuses
it, and no body is so long that waitress would put it into a file."""
MAX_READ_BYTES = 1024 * 1024
"""waitress refuses a longer body unread, which resets the line: a proxy then tells of a bad
gateway. nginx as it comes passes no longer body on."""
SLOW_CLIENT_SECONDS = 30
"""A connection without a new byte for so long is cut if its request is not whole."""
SLOW_CLIENT_CHECK_SECONDS = 5
BACKLOG = 2048
OTHER_FILES = 100
"""Descriptors for all else: Temporal, the record, the event loop, files."""
FEWEST_CONNECTIONS = 16
READY_INTERVAL = 0.5
"""Seconds between two questions whether the service is ready, until it is."""


@functools.cache
def event_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of this process's async views. It has a thread of its own."""
    loop = uvloop.new_event_loop()
    threading.Thread(target=loop.run_forever, name="event-loop", daemon=True).start()
    return loop


class _AnyId(BaseConverter):
    """A part of a path that may be any text: somebody may have called a workflow `a/b`.

    Temporal allows 1,000 bytes; without an end a long path would cost a second of the CPU.
    """

    regex = "(?s:.{1,1000})"
    part_isolating = False

    def to_url(self, value: str) -> str:
        """Return the text as it stands in a link. A browser would resolve `a/../b`."""
        return urllib.parse.quote(value, safe="")


class SharedLoopFlask(Flask):
    """A Flask app whose async views run on the `event_loop` of the process."""

    path = ""
    """Under which people reach the app. A proxy may strip it from its requests, or leave it."""

    def wsgi_app(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Any:
        """Answer a request. Links follow `SCRIPT_NAME`."""
        environ["SCRIPT_NAME"] = path = self.path.encode().decode("latin-1")
        if f"{environ['PATH_INFO']}/".startswith(f"{path}/"):
            environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(path)
        return super().wsgi_app(environ, start_response)

    @classmethod
    def of_the_api(cls, options: Options) -> Self:
        """Return an app without any route yet."""
        app = cls("api", static_folder=None)
        app.path = urllib.parse.unquote(urllib.parse.urlsplit(options.public_url or "").path)
        app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
        app.url_map.converters["default"] = _AnyId
        app.url_map.merge_slashes = False
        cast(DefaultJSONProvider, app.json).sort_keys = False
        return app

    def make_default_options_response(self) -> Response:
        """Tell the methods of a path. Other paths match it, too: it may end as an id does."""
        path = cast(Rule, request.url_rule).rule
        rules = (rule for rule in self.url_map.iter_rules() if rule.rule == path)
        methods = {method for rule in rules for method in rule.methods or ()}
        return self.response_class(headers={"Allow": ", ".join(sorted(methods))})

    def async_to_sync(self, func: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        """Return a function that runs `func` to its end on the shared loop."""

        def on_shared_loop(*args: Any, **kwargs: Any) -> Any:
            # The task inherits this thread's context, and with it Flask's request.
            return asyncio.run_coroutine_threadsafe(func(*args, **kwargs), event_loop()).result()

        return on_shared_loop


class _Body(OverflowableBuffer):
    """What was received of a request's body, of one that is too long only its length."""

    received = 0

    def append(self, data: bytes) -> None:
        """Keep the data, unless it is too much."""
        self.received += len(data)
        if self.received <= MAX_UPLOAD_BYTES:
            super().append(data)

    def __len__(self) -> int:
        return self.received


class _Parser(HTTPRequestParser):
    """Reads a request as waitress does, but for a body that is too long."""

    def parse_header(self, header_plus: bytes) -> None:
        """Take up the headers, and where the body is to be kept."""
        super().parse_header(header_plus)
        if self.body_rcv is not None:
            self.body_rcv.buf = _Body(self.adj.inbuf_overflow)


class _ProblemTask(ErrorTask):
    """Answers a request that waitress itself refuses, in the way of the app."""

    def execute(self) -> None:
        """Answer with a problem instead of waitress's own text."""
        # Its type in the stubs is that of its error.
        error = cast(HTTPRequestParser, self.request).error
        status = error.code if error else 500
        response = Problem(status, MEANING[status]).response()
        body = response.get_data()
        self.status = response.status
        self.response_headers = [*response.headers.items(), *SECURITY_HEADERS.items()]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


def listen(app: Flask, host: str, port: int, threads: int) -> Server:
    """Return a server that listens at the address; `serve` makes it answer.

    Raises `SystemExit` with one line when the address cannot be bound.
    """
    # waitress has one such class of each kind for the whole process.
    HTTPChannel.error_task_class = _ProblemTask
    HTTPChannel.parser_class = _Parser
    # At its limits waitress warns of each connection that comes or goes.
    logging.getLogger("waitress").setLevel(logging.ERROR)
    try:
        return create_server(
            app,
            host=host,
            port=port,
            threads=threads,
            backlog=BACKLOG,
            connection_limit=_connections_that_fit(2 * threads + BACKLOG),
            channel_timeout=SLOW_CLIENT_SECONDS,
            cleanup_interval=SLOW_CLIENT_CHECK_SECONDS,
            # Reading on while a request runs is how the server notices that its client has gone.
            channel_request_lookahead=1,
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=MAX_READ_BYTES + 1,
            # select() cannot watch descriptors above 1023.
            asyncore_use_poll=True,
            ident=None,
        )
    except OSError as error:
        sys.exit(f"Cannot listen on {authority(host, port)}: {error.strerror}")


def _connections_that_fit(wanted: int) -> int:
    """Return how many connections the server may hold open, `wanted` at the most.

    A server that takes a connection without a descriptor for it fails thousands of times a second.
    A server that stops earlier leaves its clients in the listen queue.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= wanted + OTHER_FILES:
        return wanted
    fitting = max(limit - OTHER_FILES, FEWEST_CONNECTIONS)
    logger.warning("%d connections fit into the limit of %d open files", fitting, limit)
    return fitting


def authority(host: str, port: int) -> str:
    """Return host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def serve(server: Server, before_stop: Callable[[], object]) -> None:
    """Serve until SIGINT or SIGTERM; then call `before_stop` and let running requests finish."""

    def stop(number: int, _frame: FrameType | None) -> None:
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN)
        logger.info("Stopping on %s", signal.Signals(number).name)
        before_stop()
        raise SystemExit  # waitress takes it as the order to finish what runs and return.

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, stop)
    server.run()
    server.close()
    logger.info("Stopped")


def run(app: SharedLoopFlask, host: str, port: int, temporal: str) -> None:
    """Serve the app until SIGINT or SIGTERM. `temporal` is the address of Temporal, for the logs.

    Raises `SystemExit` with one line when the address cannot be bound.
    """
    bookings: Bookings = app.extensions["bookings"]
    options: Options = app.extensions["options"]
    where = options.public_url or f"http://{authority(host, port)}"
    ready = f"Ready: book at {where}/, watch at {options.temporal_ui_url}"
    server = listen(app, host, port, threads_for(options.max_open_bookings))
    loop = event_loop()
    asyncio.run_coroutine_threadsafe(_announce(bookings, options, temporal, ready), loop)
    serve(server, functools.partial(loop.call_soon_threadsafe, bookings.stop_waiting))


async def _announce(bookings: Bookings, options: Options, temporal: str, ready: str) -> None:
    """Log each obstacle to booking once, then `ready`, then whose trips no caller has."""
    said = None
    while obstacle := await bookings.check_ready():
        if obstacle != said:
            logger.warning("Waiting: %s (Temporal at %s)", obstacle, temporal)
            said = obstacle
        await asyncio.sleep(READY_INTERVAL)
    logger.info("%s", ready)
    callers = owners_of(options.keys)
    if not options.keys:
        callers.add("")  # The trips that nobody owns are an operator's, as everybody is here.
    with contextlib.suppress(RecordError):
        if owners := await bookings.owners_besides(callers):
            told = "There are trips of owners without an API key: %s. To hand them over: %s"
            names = cut(", ".join(map(repr, owners)))
            logger.warning(told, names, "`make handover FROM=… TO=…`")
