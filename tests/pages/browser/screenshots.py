"""`python -m tests.pages.browser.screenshots`: takes the pictures that the README shows.

All in them is real: the processes, the browser, the simulated suppliers, whose items make a moment
last until it has been taken.
"""

import asyncio
import io
import shutil
import sys
from contextlib import AbstractAsyncContextManager
from typing import Any

from PIL import Image
from playwright.async_api import Browser, Page, ViewportSize, async_playwright, expect

from tests.pages.browser import browsing
from tests.pages.browser.browsing import (
    PATIENCE,
    WEB_UI,
    book,
    expect_motion,
    expect_status,
    fill_in,
)
from tests.pages.conftest import ARGUMENTS, NAMES
from tests.processes import FAST_TIMERS, ROOT, free_port, service, supplier_urls

IMAGES = ROOT / "docs" / "images"

DESK = ViewportSize(width=1100, height=640)
WINDOW = ViewportSize(width=1400, height=980)
TELEPHONE = ViewportSize(width=390, height=760)

LASTING = 600
"""Seconds between two tries of a flaky supplier: its trip is shown as it waits for the second."""

SLOW_SECONDS = 20
"""How long the slow hotel takes to cancel: so long its trip is shown on its way back."""

COLOURS = 128
"""Of a picture. All that there are would double its size, and nobody would see them."""

GOOD = {"car": "electric-car", "hotel": "seaview-hotel", "flight": "lisbon-flight"}
SOLD_OUT = GOOD | {"flight": "sold-out-flight"}


async def take(page: Page, name: str, *, whole: bool = True) -> None:
    """Write the picture of a page as it is shown, the whole of it or what the window shows."""
    taken = await page.screenshot(full_page=whole)
    with Image.open(io.BytesIO(taken)) as picture:
        small = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(IMAGES / f"{name}.png", optimize=True)


def tab(browser: Browser, origin: str, **options: Any) -> AbstractAsyncContextManager[Page]:
    """A tab for pictures."""
    looks: dict[str, Any] = {"viewport": DESK, "device_scale_factor": 2, "reduced_motion": "reduce"}
    return browsing.tab(browser, origin, **looks | options)


async def take_all(browser: Browser, origin: str) -> None:
    """Book one trip after the other, and take what becomes of them."""
    async with (
        tab(browser, origin) as page,
        tab(browser, origin, color_scheme="dark") as dark,
        tab(browser, origin, viewport=TELEPHONE, has_touch=True) as telephone,
    ):
        await fill_in(page, **GOOD)
        await take(page, "form")

        await book(page, **SOLD_OUT | {"name": "Ada Byron", "hotel": "slow-hotel"})
        going_back = page.url
        for name, each in (("rollback", page), ("dark", dark), ("telephone", telephone)):
            await each.goto(going_back)
            await expect_motion(each, "Going back: undoing the hotel")
            await take(each, name)

        await book(page, **GOOD | {"name": "Jane Smith", "hotel": "unknown-hotel"})
        await expect_status(page, "Rolled back")

        cancelled = await book(page, **GOOD | {"name": "Marie Curie"})
        await expect_status(page, "Booked")
        await page.request.post(f"/bookings/{cancelled}/cancel")

        await book(page, **GOOD | {"name": "Grace Hopper", "hotel": "flaky-hotel"})
        await expect_motion(page, "Going on: booking the hotel, try 2")
        await take(page, "retry")

        await book(page, **GOOD | {"name": "John Doe"})
        await expect_status(page, "Booked")
        await take(page, "booked")

        await book(page, **SOLD_OUT | {"name": "Mary Shelley", "hotel": "non-refundable-hotel"})
        await expect_status(page, "Needs attention")
        await take(page, "stuck")

        await page.goto(going_back)
        await expect_status(page, "Rolled back")
        await page.goto("/trips")
        await take(page, "list")


async def take_web_ui(browser: Browser) -> None:
    """Roll the README's trip back beside the tutorial's outage, and take it in the Web UI."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    # Of a repeated option the last one counts.
    options = (*FAST_TIMERS, "--headless=false", "--ui-port", str(port))
    slow = {"HOTEL_LATENCY_SECONDS": 1, "HOTEL_OUTAGE_ATTEMPTS": 1, "TEMPORAL_UI_URL": url}
    with service("sqlite", options, **slow) as running:
        running.start()
        jane = {"name": "Jane Smith", "car": "valid-car-id", "flight": "valid-flight-id"}
        trip = running.request("POST", "/book", jane | {"hotel": "invalid-hotel-id"}).body
        found = running.request("GET", f"/bookings/{trip['user_id']}").body
        async with tab(browser, url, **WEB_UI | {"viewport": WINDOW}) as page:
            await page.goto(found["links"]["web_ui"])
            await expect(page.get_by_text("undo_book_car • Undo")).to_be_visible()
            await take(page, "rolled-back-trip", whole=False)


async def main() -> None:
    """Start the service and a browser, and take the pictures."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        sys.exit("Chromium is not installed")
    expect.set_options(timeout=PATIENCE)
    IMAGES.mkdir(exist_ok=True)
    port = free_port()
    with service(
        "sqlite",
        FAST_TIMERS,
        PAGE_EXAMPLES="simulator",
        RETRY_INTERVAL_SECONDS=LASTING,
        RETRY_INTERVAL_CAP_SECONDS=LASTING,
        STEP_DEADLINE_SECONDS=3 * LASTING,
        UNDO_ATTEMPTS=1,
        **supplier_urls(port),
    ) as running:
        slow = ("--slow-seconds", str(SLOW_SECONDS))
        suppliers = running.simulated_suppliers("--port", str(port), *slow)
        suppliers.start()
        suppliers.wait_for_output("Suppliers at")
        running.start()
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
            await take_all(browser, f"http://127.0.0.1:{running.api_port}")
            await take_web_ui(browser)
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
