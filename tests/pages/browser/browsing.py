"""The booking pages as their readers meet them: in a tab of a real browser.

The server, the worker, the record, the API and Temporal are the real ones, in the tests' process
where a test decides when a supplier answers, else in processes of their own.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Locator,
    Page,
    Request,
    Route,
    WebError,
    expect,
)
from temporalio.client import Client

from pages import trip_pages
from settings import Settings
from shared import KINDS
from starter import create_app
from tests.api.serving import serving
from tests.processes import DEADLINE

ITEMS = {str(kind): f"valid-{kind}-id" for kind in KINDS}
JOHN = {"name": "John Doe", **ITEMS}

LAST = KINDS[-1]
DOOMED = {LAST: f"invalid-{LAST}-id"}
"""What makes a trip fail at its last step, so that all others are undone."""

PATIENCE = 1_000 * DEADLINE
"""Milliseconds after which what a page is to show, or to let be done, counts as never there."""

# No try that a test holds back may count as lost, however busy the machine is.
IMPATIENT = {"retry_interval_seconds": 0.01, "undo_attempts": 2, "heartbeat_timeout_seconds": 60}

WEB_UI: dict[str, Any] = {
    "schemes": ("data:", "blob:"),
    "complaints": ("error",),
    "viewport": {"width": 1500, "height": 1500},
}
"""What a window for Temporal's Web UI needs. What the UI only warns of is its own affair."""

AWAY = ("net::ERR_", "htmx:afterRequest", "htmx:sendError")
"""What the console tells of requests that get no answer."""


def refused(status: int) -> str:
    """Return what the console tells of a request that is answered with an error."""
    return f"the server responded with a status of {status} "


@asynccontextmanager
async def site(client: Client, **settings: Any) -> AsyncIterator[str]:
    """The API with its pages, served by this process; yields where.

    An open page of a trip asks for news ten times as often as elsewhere.
    """
    with contextlib.ExitStack() as stack:
        for name in ("INTERVAL_MS", "LONG_INTERVAL_MS"):
            stack.enter_context(patch.object(trip_pages, name, getattr(trip_pages, name) // 10))
        app = create_app(client, Settings(**IMPATIENT | settings))
        port = stack.enter_context(serving(app, threads=16))
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            # What is still answered may need this loop, on which the worker runs.
            await asyncio.to_thread(stack.close)


@asynccontextmanager
async def window(
    chromium: Browser,
    origin: str,
    *expected: str,
    schemes: Sequence[str] = (),
    complaints: Collection[str] = ("error", "warning"),
    **options: Any,
) -> AsyncIterator[BrowserContext]:
    """A browser of its own for the pages at `origin`.

    Fails when one of them does what it should only show, asks for something from elsewhere (what a
    URL of one of the `schemes` asks for is in the page), or when a script fails or the console has
    one of the `complaints`, with none of `expected` in its words.
    """
    wrong: list[str] = []

    async def dismiss(dialog: Dialog) -> None:
        wrong.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def note_request(request: Request) -> None:
        if not request.url.startswith((f"{origin}/", *schemes)):
            wrong.append(f"request to {request.url}")

    def note_console(message: ConsoleMessage) -> None:
        # What the content security policy has stopped is told here, too.
        if message.type in complaints and not any(words in message.text for words in expected):
            wrong.append(f"console: {message.text}")

    def note_error(error: WebError) -> None:
        if not any(words in str(error.error) for words in expected):
            wrong.append(f"error: {error.error}")

    context = await chromium.new_context(base_url=origin, **options)
    context.set_default_timeout(PATIENCE)
    context.on("dialog", dismiss)
    context.on("request", note_request)
    context.on("console", note_console)
    context.on("weberror", note_error)
    try:
        yield context
    finally:
        await context.close()
    assert wrong == []


@asynccontextmanager
async def tab(
    chromium: Browser, origin: str, *expected: str, **options: Any
) -> AsyncIterator[Page]:
    """A tab in a browser of its own, as `window` has it."""
    async with window(chromium, origin, *expected, **options) as context:
        yield await context.new_page()


async def fill_in(page: Page, **values: str) -> None:
    """Open the form, filled in with a good trip changed as told."""
    await page.goto(f"/?{urlencode(JOHN | values)}")


async def book(page: Page, **values: str) -> str:
    """Book a good trip, changed as told, by the form; return its id, its page being open."""
    await fill_in(page, **values)
    await page.get_by_role("button", name="Book the trip").click()
    await page.wait_for_url("**/trips/*")
    return page.url.rpartition("/")[2]


def step(page: Page, kind: str) -> Locator:
    """Return the part of a trip's page that shows a step."""
    return page.locator(f"#step-{kind}")


async def expect_status(page: Page, words: str) -> None:
    """Wait until the trip's page says so of the trip as a whole."""
    await expect(page.locator("#trip .badge")).to_have_text(words)


async def expect_motion(page: Page, words: str) -> None:
    """Wait until the trip's page tells so where the trip is going."""
    await expect(page.locator("#trip .motion")).to_have_text(words)


@asynccontextmanager
async def no_reload(page: Page) -> AsyncIterator[None]:
    """Fails when the page is loaded anew in the block: a mark on its window would be gone."""
    await page.evaluate("window.mark = true")
    yield
    assert await page.evaluate("window.mark"), "The page was reloaded"


async def hold_still(page: Page) -> None:
    """Have an open page show what it shows: whenever it asks from now on, there is no news."""
    asked = asyncio.Event()

    async def no_news(route: Route) -> None:
        asked.set()
        await route.fulfill(status=204)

    await page.route("**/now/**", no_news)
    # It asks again only after it was answered, so no older question is under way then.
    async with asyncio.timeout(DEADLINE):
        await asked.wait()


async def trips_of(page: Page, name: str) -> list[dict[str, Any]]:
    """Return the traveller's trips that the API lists."""
    answer = await page.request.get("/bookings?limit=100")
    listed: dict[str, Any] = await answer.json()
    return [trip for trip in listed["bookings"] if trip["name"] == name]


async def expect_alert(page: Page, words: str) -> Locator:
    """Wait until a reader is alerted to something that has these words in it, and return it."""
    alert = page.get_by_role("alert").filter(has_text=words)
    await expect(alert).to_be_visible()
    return alert


async def until_over(page: Page, user_id: str) -> None:
    """Wait until the API tells that the trip is over."""
    await page.request.get(f"/bookings/{user_id}?wait=30")
