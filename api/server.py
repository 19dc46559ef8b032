"""Serves a Flask app over HTTP: waitress for the sockets, one event loop for all async views.

waitress reads a request whole before a thread takes it, so a slow client costs no thread. Flask's
own way is an event loop for each request; one shared loop costs less CPU and no descriptors, and
lets an orderly stop reach the requests that wait.
"""

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvloop
from flask import Flask
from waitress.server import BaseWSGIServer, MultiSocketServer, create_server

Server = BaseWSGIServer | MultiSocketServer

logger = logging.getLogger(__name__)

MAX_HEADER_BYTES = 16 * 1024
MAX_UPLOAD_BYTES = 1024 * 1024
"""waitress refuses a larger body without reading it; the app itself refuses smaller ones nicely."""
SLOW_CLIENT_SECONDS = 30
BACKLOG = 2048


@contextmanager
def background_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread of its own; at the end cancel what still runs, and stop it."""
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    loop = runner.get_loop()
    stopped = asyncio.Event()

    def run() -> None:
        with runner:
            runner.run(stopped.wait())

    thread = threading.Thread(target=run, name="event-loop", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()


class SharedLoopFlask(Flask):
    """A Flask app whose async views run on one loop, if it is given one."""

    loop: asyncio.AbstractEventLoop | None = None

    def async_to_sync(self, func: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        """Return a function that runs `func` to its end on the shared loop."""
        if self.loop is None:
            return super().async_to_sync(func)
        loop = self.loop

        def on_shared_loop(*args: Any, **kwargs: Any) -> Any:
            # The task inherits this thread's context, and with it Flask's request.
            return asyncio.run_coroutine_threadsafe(func(*args, **kwargs), loop).result()

        return on_shared_loop


def listen(app: Flask, host: str, port: int, threads: int) -> Server:
    """Return a server that listens at the address; `serve` makes it answer.

    Raises `SystemExit` with one line when the address cannot be bound.
    """
    try:
        return create_server(
            app,
            host=host,
            port=port,
            threads=threads,
            backlog=BACKLOG,
            connection_limit=2 * threads + BACKLOG,
            channel_timeout=SLOW_CLIENT_SECONDS,
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=MAX_UPLOAD_BYTES,
            # select() cannot watch descriptors above 1023.
            asyncore_use_poll=True,
            ident=None,
        )
    except OSError as error:
        sys.exit(f"Cannot listen on {host}:{port}: {error.strerror}")


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
