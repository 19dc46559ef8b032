"""The pages over real processes that die, with the suppliers' simulator, in a real browser."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.async_api import Browser, expect

from pages.examples import EXAMPLES, Example
from tests.pages.browser.browsing import (
    AWAY,
    book,
    expect_motion,
    expect_status,
    no_reload,
    refused,
    step,
    tab,
)
from tests.processes import FAST_TIMERS, Process, Service, free_port, service, supplier_urls

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Site:
    """A service of real processes, its suppliers', and where its pages are."""

    service: Service
    suppliers: Process
    origin: str


@pytest.fixture(scope="module")
def whole() -> Iterator[Site]:
    port = free_port()
    settings = supplier_urls(port) | {"PAGE_EXAMPLES": "simulator"}
    with service("sqlite", FAST_TIMERS, **settings) as running:
        suppliers = running.simulated_suppliers("--port", str(port), "--slow-seconds", "2")
        suppliers.start()
        suppliers.wait_for_output("Suppliers at")
        running.start()
        yield Site(running, suppliers, f"http://127.0.0.1:{running.api_port}")


async def test_a_page_outlives_api_and_worker_and_goes_on_by_itself(
    chromium: Browser, whole: Site
) -> None:
    first, second = whole.service.workers
    # The console tells of connections that are refused; the API may be busy when it is back.
    async with tab(chromium, whole.origin, *AWAY, refused(503)) as page:
        whole.suppliers.freeze()
        user_id = await book(page)
        await expect_motion(page, "Going on: booking the car")
        away = page.get_by_role("status").filter(has_text="Not up to date")
        async with no_reload(page):
            whole.service.api.kill()
            await expect(away).to_be_visible()
            first.kill()
            whole.suppliers.thaw()
            whole.service.api.start()
            await expect(away).not_to_be_visible()
            await expect_motion(page, "Going on: booking the car")
            second.start()
            await expect_status(page, "Booked")
        whole.service.wait_until_ready()
        assert whole.service.request("GET", f"/bookings/{user_id}").body["status"] == "booked"


BECOMES = {
    "A good trip": ("Booked", {"flight": "Booked in"}),
    "A hotel that does not exist": ("Rolled back", {"car": "Undone", "hotel": "There is no hotel"}),
    "A flight that is sold out": ("Rolled back", {"hotel": "Undone", "flight": "is sold out"}),
    "A slow hotel": ("Booked", {"hotel": "Booked in"}),
    "A flaky car": ("Booked", {"car": "after 3 tries"}),
    "A fare without refund": ("Needs attention", {"hotel": "This fare cannot be refunded"}),
    "A trip to pay for first": ("Held", {"car": "Held", "flight": "Not held yet"}),
    "A price that rises": ("Held", {"hotel": "240 EUR"}),
}

ONCE_CONFIRMED = {"A trip to pay for first": "Booked", "A price that rises": "Rolled back"}


@pytest.mark.parametrize("example", EXAMPLES["simulator"], ids=lambda example: example.name)
async def test_an_example_becomes_what_it_promises(
    chromium: Browser, whole: Site, example: Example
) -> None:
    status, steps = BECOMES[example.name]
    async with tab(chromium, whole.origin) as page:
        await page.goto("/")
        await page.get_by_role("link", name=example.name).click()
        await page.get_by_role("button", name="Book the trip").click()
        await page.wait_for_url("**/trips/*")
        async with no_reload(page):
            await expect_status(page, status)
            for kind, told in steps.items():
                await expect(step(page, kind)).to_contain_text(told)
        if status == "Held":
            await page.get_by_role("button", name="Confirm and book").click()
            await expect_status(page, ONCE_CONFIRMED[example.name])
        if status == "Needs attention":
            await page.get_by_text("Already settled…").click()
            await page.get_by_label("How was the hotel settled?").fill("Paid.")
            await page.get_by_role("button", name="Mark as settled").click()
            await expect_status(page, "Rolled back")
