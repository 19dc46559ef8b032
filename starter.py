"""The API: `create_app` builds the Flask app around one Temporal client; `main` serves it.

`python starter.py`. The routes stand in `api/`, what Temporal is asked in `bookings/`.
"""

import os
import signal

if __name__ == "__main__":
    # The imports below take a second; an order to stop that comes meanwhile has nothing to stop.
    # The orderly handlers take over once there is something.
    for early in (signal.SIGINT, signal.SIGTERM):
        signal.signal(early, lambda *_: os._exit(0))

import asyncio
import datetime as dt
import functools
import logging
from typing import cast

from flask import Response, g
from flask.json.provider import DefaultJSONProvider
from temporalio.client import Client

import api
import bookings as asked
import pages
from api import CallerKey, Codec, FieldError, Options, Problem, SharedLoopFlask
from bookings import Bookings, Caller
from connection import (
    Encryption,
    UnreadablePayload,
    converted_json,
    converter_of,
    lazy_client,
)
from record import Audit, Record, RecordError, RecordUnavailable, promises
from settings import Settings, load_settings, temporal_config
from telemetry import (
    AUDIT_DIFFERENCES,
    AUDIT_LAST_SUCCESS,
    OUTCOME_UNKNOWN_AGE,
    OUTCOMES_UNKNOWN,
    PLACES,
    PLACES_IN_USE,
    REQUESTS_WAITING,
    TRIPS_OPEN,
    TRIPS_PAST_DEADLINE,
    UNDO_STUCK_AGE,
    UNDOS_STUCK,
    ApiMetrics,
    AtScrape,
    Reading,
    SdkMetrics,
    configure_logging,
    measure_requests,
    scraped,
    show_connections,
    show_record,
    start_tracing,
)

logger = logging.getLogger("api")

MAX_BODY_BYTES = 16 * 1024


def create_app(
    temporal_client: Client, settings: Settings | None = None, sdk: SdkMetrics | None = None
) -> SharedLoopFlask:
    """Return the API as a Flask app that books through `temporal_client`.

    Without `settings` they are read from the environment; `sdk` has the metrics of the client.
    """
    settings = settings or load_settings()
    _check_encryption(temporal_client, settings)
    record = Record.connect(settings.database_url)
    bookings = Bookings(temporal_client, record, settings.saga_policy)
    places = api.places_for(settings.max_open_bookings, settings.most_open_bookings_per_caller)
    metrics = _metrics(bookings, record, places, settings)
    bookings.on_accepted = metrics.trips_accepted.inc
    bookings.waits.max_long_polls = settings.max_long_polls
    if settings.bookings_per_second_per_caller is not None:
        bookings.admit = api.BookingRate(settings.bookings_per_second_per_caller).admit

    app = SharedLoopFlask("api", static_folder=None)
    measure_requests(app, metrics)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    cast(DefaultJSONProvider, app.json).sort_keys = False
    app.extensions |= {"bookings": bookings, "metrics": metrics}
    options = _options(settings, temporal_client)
    scrape = functools.partial(scraped, metrics.registry, sdk)
    app.register_blueprint(api.create_blueprint(bookings, options, places, scrape))
    pages.add_pages(app, bookings, options, places.look, settings.page_examples)
    if options.decodes:
        app.register_blueprint(api.create_codec(_codec(settings), options))
    api.install(app)
    app.register_error_handler(asked.BookingsError, functools.partial(_problem, metrics))
    app.register_error_handler(RecordError, _record_problem)
    app.register_error_handler(UnreadablePayload, _unreadable)
    return app


def _check_encryption(temporal_client: Client, settings: Settings) -> None:
    """Log it if the client, which somebody else may have made, leaves in clear what is not to be.

    Trips go through all the same, so nobody would notice.
    """
    codec = temporal_client.data_converter.payload_codec
    encrypts = isinstance(codec, Encryption) and codec.encrypts
    if settings.payload_keys.encrypting is not None and not encrypts:
        logger.error(
            "PAYLOAD_KEYS is set, but the Temporal client does not encrypt by it: travellers' "
            "names go to Temporal in clear. Make the client with connection.converter_of"
        )


def _options(settings: Settings, temporal_client: Client) -> Options:
    keys = [
        CallerKey(Caller(key.name, key.operator), key.secret.get_secret_value())
        for key in settings.api_keys
    ]
    return Options(
        keys=keys,
        book_wait_seconds=settings.book_wait_seconds,
        max_open_bookings=settings.max_open_bookings,
        # The settings let a service that serves anyone without keys listen on loopback only.
        local_only=not (settings.api_keys or settings.allow_anonymous),
        temporal_ui_url=settings.temporal_ui_url,
        namespace=temporal_client.namespace,
        decodes=bool(settings.payload_keys.secrets),
        anonymous_ids=settings.payload_keys.encrypting is not None,
    )


def _codec(settings: Settings) -> Codec:
    keys = settings.payload_keys
    encryption = Encryption(keys.revealed, keys.encrypting)
    return Codec(
        encode=functools.partial(converted_json, encryption.encrypt),
        decode=functools.partial(converted_json, encryption.decrypt),
    )


def _metrics(
    bookings: Bookings, record: Record, places: api.AllPlaces, settings: Settings
) -> ApiMetrics:
    """Return what the process counts, with what is read at each scrape."""
    metrics = ApiMetrics()
    callers = {key.name for key in settings.api_keys} or {api.ANONYMOUS.name}

    def read_places() -> Reading:
        count = {name: each.count for name, each in places._asdict().items()}
        in_use = {name: each.in_use for name, each in places._asdict().items()}
        return {
            PLACES: count | {"long_poll": settings.max_long_polls},
            PLACES_IN_USE: in_use | {"long_poll": bookings.waits.long_polls},
            REQUESTS_WAITING: {name: places.wait.held_by(name) for name in callers},
        }

    async def read_promises() -> Reading:
        found = await promises(
            record.database, dt.timedelta(seconds=settings.trip_deadline_seconds)
        )
        return {
            TRIPS_OPEN: {str(status): count for status, count in found.open_trips.items()},
            TRIPS_PAST_DEADLINE: found.past_deadline,
            UNDOS_STUCK: found.stuck_undos.count,
            UNDO_STUCK_AGE: found.stuck_undos.age(),
            OUTCOMES_UNKNOWN: found.unknown_outcomes.count,
            OUTCOME_UNKNOWN_AGE: found.unknown_outcomes.age(),
            **_audited(await record.audits.last()),
        }

    AtScrape(metrics.registry, read_places)
    show_connections(metrics.registry, record.database.connections)
    show_record(metrics.registry, read_promises)
    return metrics


def _audited(last: Audit | None) -> Reading:
    if last is None or last.ended_at is None:
        return {}
    found = last.differences or {}
    return {AUDIT_LAST_SUCCESS: last.ended_at.timestamp(), AUDIT_DIFFERENCES: found}


def _problem(metrics: ApiMetrics, error: asked.BookingsError) -> Response:
    """Say what went wrong between the API and Temporal in terms of HTTP."""
    match error:
        case asked.BookingNotFound():
            problem = Problem(404, "There is no such booking.")
        case asked.BookingDiffers():
            metrics.key_conflicts.inc()
            problem = Problem(422, "This Idempotency-Key was used with another body.")
        case asked.BookingConflict():
            problem = Problem(409, str(error))
        case asked.UnknownCursor():
            problem = api.invalid(FieldError("cursor", "is none that this list has given out"))
        case asked.TemporalRefuses():
            logger.error("%s %r", error, error.__cause__)
            problem = Problem(500, str(error))
        case asked.NoWorker():
            problem = api.retry_later(503, "No worker of the trip's version answers; try again.")
        case _:
            logger.error("Temporal cannot be asked: %s", error)
            problem = api.retry_later(503, "Temporal cannot be reached; try again.", **_place())
    return problem.response()


def _record_problem(error: RecordError) -> Response:
    """Say what went wrong between the API and the record in terms of HTTP."""
    logger.error("%s: %r", error, error.__cause__)
    if isinstance(error, RecordUnavailable):
        return api.retry_later(503, f"{error}; try again.", **_place()).response()
    return Problem(500, f"{error}; it has been logged.").response()


def _unreadable(error: UnreadablePayload) -> Response:
    """Say that a key is missing. It is no outage: nothing mends it but another setting."""
    logger.error("%s", error)
    return Problem(500, str(error), members=_place()).response()


def _place() -> dict[str, str]:
    """Return where to look for a trip that got through before the line broke, if one may have."""
    return {"location": api.location_of(g.user_id)} if "user_id" in g else {}


async def _announce(bookings: Bookings, address: str, settings: Settings) -> None:
    """Log what the service waits for, and where it is once it is ready."""
    said = None
    while obstacle := await bookings.check_ready():
        if obstacle != said:
            logger.warning("Waiting: %s (Temporal at %s)", obstacle, address)
            said = obstacle
        await asyncio.sleep(0.5)
    logger.info(
        "Ready: book at http://%s/, watch at %s",
        api.authority(settings.host, settings.port),
        settings.temporal_ui_url,
    )


def main() -> None:
    """Run the API process."""
    settings = load_settings()
    config = temporal_config()
    configure_logging(settings.log_level, settings.log_format, api.trip_at_hand)
    tracing = start_tracing("trip-booking-api")
    with api.background_loop() as loop:
        sdk = SdkMetrics()
        keys = settings.payload_keys
        converter = converter_of(Encryption(keys.revealed, keys.encrypting))
        connecting = lazy_client(config, sdk.runtime, tracing.plugins, converter)
        client = asyncio.run_coroutine_threadsafe(connecting, loop).result()
        app = create_app(client, settings, sdk)
        tracing.trace_requests(app, api.trip_at_hand)
        app.loop = loop
        bookings: Bookings = app.extensions["bookings"]
        threads = api.threads_for(settings.max_open_bookings)
        server = api.listen(app, settings.host, settings.port, threads)
        asyncio.run_coroutine_threadsafe(_announce(bookings, config["target_host"], settings), loop)
        api.serve(server, functools.partial(loop.call_soon_threadsafe, bookings.stop_waiting))
    tracing.close()
    # A call of the record that hangs keeps no process from stopping.
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
