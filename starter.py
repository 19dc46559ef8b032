"""The API: `create_app` builds the Flask app around one Temporal client; `main` serves it.

`python starter.py`. The routes stand in `views.py`, what Temporal is asked in `bookings.py`, what
requests and answers look like in `schemas.py`.
"""

import asyncio
import functools
import logging
from typing import cast

from flask import Response, g
from flask.json.provider import DefaultJSONProvider
from temporalio.client import Client

import bookings as asked
import problems
from bookings import Bookings
from http_server import SharedLoopFlask, background_loop, listen, serve
from logs import configure_logging
from problems import FieldError, Problem, invalid, retry_later
from settings import Settings, lazy_client, load_settings, temporal_config
from views import create_blueprint, location_of

logger = logging.getLogger("api")

MAX_BODY_BYTES = 16 * 1024
SPARE_THREADS = 32
"""Threads beyond those that wait for bookings, so that health checks and look-ups get through."""


def create_app(temporal_client: Client, settings: Settings | None = None) -> SharedLoopFlask:
    """Return the API as a Flask app that books through `temporal_client`.

    Without `settings` they are read from the environment.
    """
    settings = settings or load_settings()
    bookings = Bookings(temporal_client, settings.saga_policy)

    app = SharedLoopFlask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    cast(DefaultJSONProvider, app.json).sort_keys = False
    app.extensions["bookings"] = bookings
    app.register_blueprint(create_blueprint(bookings, temporal_client.namespace, settings))
    problems.install(app)
    app.register_error_handler(asked.BookingsError, _problem)
    return app


def _problem(error: asked.BookingsError) -> Response:
    """Say what went wrong between the API and Temporal in terms of HTTP."""
    match error:
        case asked.BookingNotFound():
            problem = Problem(404, "There is no such booking.")
        case asked.BookingDiffers():
            problem = Problem(422, "This Idempotency-Key was used with another body.")
        case asked.BookingConflict():
            problem = Problem(409, str(error))
        case asked.UnknownCursor():
            problem = invalid(FieldError("cursor", "is none that this list has given out"))
        case asked.CannotFilter():
            problem = retry_later(503, f"The Temporal server lacks a search attribute: {error}.")
        case _:
            logger.error("Temporal cannot be asked: %s", error)
            # A start may have got through before the line broke: tell where to look for it.
            place = {"location": location_of(g.user_id)} if "user_id" in g else {}
            problem = retry_later(503, "Temporal cannot be reached; try again.", **place)
    return problem.response()


async def _announce(bookings: Bookings, address: str, settings: Settings) -> None:
    """Log what the service waits for, and where it is once it is ready."""
    said = None
    while obstacle := await bookings.check_ready():
        if obstacle != said:
            logger.warning("Waiting: %s (Temporal at %s)", obstacle, address)
            said = obstacle
        await asyncio.sleep(0.5)
    logger.info(
        "Ready: book at http://%s:%d/book, watch at %s",
        settings.host,
        settings.port,
        settings.temporal_ui_url,
    )


def main() -> None:
    """Run the API process."""
    settings = load_settings()
    config = temporal_config()
    configure_logging(settings)
    with background_loop() as loop:
        client = asyncio.run_coroutine_threadsafe(lazy_client(config), loop).result()
        app = create_app(client, settings)
        app.loop = loop
        bookings: Bookings = app.extensions["bookings"]
        threads = settings.max_open_bookings + SPARE_THREADS
        server = listen(app, settings.host, settings.port, threads)
        asyncio.run_coroutine_threadsafe(_announce(bookings, config["target_host"], settings), loop)
        serve(server, functools.partial(loop.call_soon_threadsafe, bookings.stop_waiting))


if __name__ == "__main__":
    main()
