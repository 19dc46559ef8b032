"""The pages behind a proxy that answers for the service: a 502, or a page of its own with 200."""

from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.pages.browser.browsing import (
    book,
    expect_alert,
    expect_status,
    fill_in,
    no_reload,
    refused,
    tab,
    trips_of,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("status", [200, 502]),
]

PROXY = "The proxy's own page"

Proxy = Callable[[Route], Awaitable[None]]


def proxy(status: int) -> Proxy:
    """Return a proxy that passes requests on, and answers them by itself."""

    async def answer(route: Route) -> None:
        await route.fetch(max_redirects=0)
        body = f"<title>{PROXY}</title><main id=main><p id=problem>{PROXY}</p></main>"
        await route.fulfill(status=status, content_type="text/html", body=body)

    return answer


async def press(page: Page, name: str = "Book the trip") -> None:
    await page.get_by_role("button", name=name).click()


async def test_the_form_stays_with_its_key_also_over_a_reload(
    chromium: Browser, origin: str, status: int
) -> None:
    name = "Proxied"
    async with tab(chromium, origin, refused(status), refused(404)) as page:
        await page.goto("/")
        for label in ("Traveller's name", "Car", "Hotel", "Flight"):
            await page.get_by_label(label).fill(name)
        await page.route("**/trips", proxy(status), times=1)
        async with no_reload(page):
            await press(page)
            await expect_alert(page, "No answer has come")
            await expect(page.get_by_label("Hotel")).to_have_value(name)
        await page.route("**/", proxy(status), times=1)
        await page.reload()
        await expect(page).to_have_title(PROXY)
        await page.reload()
        await expect_alert(page, "No answer has come")
        await expect(page.get_by_label("Hotel")).to_have_value(name)
        await press(page)
        await page.wait_for_url("**/trips/*")
        await expect_status(page, "Booked")
        assert len(await trips_of(page, name)) == 1
        # The next form is another trip's.
        await page.goto("/")
        await expect(page.get_by_label("Hotel")).to_have_value("")
        await book(page, name=name)
        await expect_status(page, "Booked")
        assert len(await trips_of(page, name)) == 2


async def test_a_key_outlives_what_was_refused_after_it(
    chromium: Browser, origin: str, status: int
) -> None:
    name = "Refused"
    async with tab(chromium, origin, refused(status), refused(400)) as page:
        await fill_in(page, name=name, attempts="101")
        await press(page)
        await expect_alert(page, "The trip was not booked")
        await page.reload()
        await expect(page.get_by_label("Traveller's name")).to_have_value(name)
        await expect(page.get_by_text("No answer has come")).not_to_be_visible()

        await page.get_by_label("Tries").fill("5")
        await page.route("**/trips", proxy(status), times=1)
        await press(page)
        await expect_alert(page, "No answer has come")
        await page.get_by_label("Tries").fill("101")
        await press(page)
        await expect_alert(page, "The trip was not booked")
        await page.reload()
        await expect(page.get_by_label("Tries")).to_have_value("5")
        await press(page)
        await page.wait_for_url("**/trips/*")
        await expect_status(page, "Booked")
        assert len(await trips_of(page, name)) == 1


async def test_a_trip_and_the_list_keep_what_they_show(
    chromium: Browser, origin: str, status: int
) -> None:
    async with tab(chromium, origin, refused(status)) as page:
        user_id = await book(page, name="Shown")
        await expect_status(page, "Booked")
        away = page.get_by_role("status").filter(has_text="Not up to date")
        async with no_reload(page):
            await page.route("**/cancel", proxy(status), times=1)
            await page.route("**/now?*", proxy(status))
            await page.get_by_text("Cancel this trip…").click()
            await press(page, "Yes, cancel the trip")
            await expect_alert(page, "No answer has come")
            await expect(away).to_be_visible()
            await expect_status(page, "Booked")
            await press(page, "Yes, cancel the trip")
            await expect_status(page, "Cancelled")

        await page.goto("/trips?limit=100")
        row = page.get_by_role("row").filter(has=page.locator(f"[id='{user_id}']"))
        async with no_reload(page):
            await expect(away).to_be_visible()
            await expect(row).to_contain_text("Cancelled")
            await page.unroute_all()
            await expect(away).not_to_be_visible()
            await expect(row).to_contain_text("Cancelled")
