"""The API process: `create_app` builds the Flask app around one Temporal client; `main` serves it.

`python starter.py`. `api/` has the routes; `bookings/` asks Temporal and the record.
"""

import asyncio
import datetime as dt
import functools
import logging

from temporalio.client import Client

import api
import pages
from bookings import Bookings
from connection import (
    converted_json,
    encryption_of,
    lazy_client,
    namespace_of,
    temporal_config,
    warn_if_in_clear,
)
from lifecycle import allow_open_files, leave
from record import Record, RecordMisconfigured, promises_now
from settings import Settings, load_settings
from telemetry import (
    ApiMetrics,
    SdkMetrics,
    configure_logging,
    measure_requests,
    scraped,
    show_connections,
    show_places,
    show_promises,
    start_tracing,
)

logger = logging.getLogger(__name__)


def create_app(
    temporal_client: Client, settings: Settings | None = None, sdk: SdkMetrics | None = None
) -> api.SharedLoopFlask:
    """Return the API as a Flask app that books through `temporal_client`.

    Without `settings` they are read from the environment; `sdk` has the metrics of the client.
    """
    settings = settings or load_settings()
    encryption = encryption_of(settings.payload_keys)
    warn_if_in_clear(temporal_client, encryption)
    record = Record.connect(settings.database_url.get_secret_value())
    bookings = Bookings(temporal_client, record, settings.saga_policy)
    keys, metrics = api.keys_of(settings.api_keys), ApiMetrics()
    bookings.on_accepted = metrics.trips_accepted.inc
    bookings.waits.max_long_polls = settings.max_long_polls
    if settings.bookings_per_second_per_caller is not None:
        bookings.admit = api.BookingRate(settings.bookings_per_second_per_caller).admit

    callers = api.owners_of(keys)
    per_caller = settings.max_open_bookings_per_caller
    places = api.places_for(settings.max_open_bookings, callers, per_caller)
    show_places(metrics.registry, functools.partial(api.places_now, places, bookings, callers))
    show_connections(metrics.registry, record.database.connections)
    deadline = dt.timedelta(seconds=settings.trip_deadline_seconds)
    show_promises(metrics.registry, functools.partial(promises_now, record.database, deadline))
    scrape = functools.partial(scraped, metrics.registry, sdk)

    options = api.Options(
        keys=keys,
        book_wait_seconds=settings.book_wait_seconds,
        max_open_bookings=settings.max_open_bookings,
        # The settings let a service that serves anyone without keys listen on loopback only.
        local_only=not (keys or settings.allow_anonymous),
        host_names=settings.host_names,
        temporal_ui_url=settings.temporal_ui_url,
        namespace=namespace_of(temporal_client),
        public_url=settings.public_url,
        decodes=encryption.decrypts,
        anonymous_ids=encryption.encrypts,
    )
    app = api.SharedLoopFlask.of_the_api(options)
    measure_requests(app, metrics)
    app.register_blueprint(api.create_blueprint(bookings, options, places, scrape))
    pages.add_pages(app, bookings, options, places.wait, settings.page_examples)
    if options.decodes:
        encode = functools.partial(converted_json, encryption.encode)
        decode = functools.partial(converted_json, encryption.decrypt)
        codec = api.create_codec(encode, decode, options, record.withdrawn_cookies)
        app.register_blueprint(codec)
    api.install_errors(app, on_key_conflict=metrics.key_conflicts.inc)
    app.extensions |= {"bookings": bookings, "options": options, "metrics": metrics}
    app.extensions["record"] = record
    return app


def main() -> None:
    """Run the API process."""
    settings, config = load_settings(), temporal_config()
    configure_logging(settings.log_level, settings.log_format, api.trip_at_hand)
    allow_open_files()
    tracing, sdk = start_tracing("trip-booking-api"), SdkMetrics()
    encryption = encryption_of(settings.payload_keys)
    client = asyncio.run(lazy_client(config, encryption, sdk.runtime, tracing.plugins))
    app = create_app(client, settings, sdk)
    try:
        asyncio.run(app.extensions["record"].database.check_setup())
    except RecordMisconfigured as error:
        logger.critical(error.explained())
        leave(1)
    tracing.trace_requests(app, api.trip_at_hand)
    api.run(app, settings.host, settings.port, config["target_host"])
    tracing.close()
    leave()


if __name__ == "__main__":
    main()
