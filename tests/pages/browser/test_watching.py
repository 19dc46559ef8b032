"""A trip's page and the list in a real browser: they follow what happens, without a reload."""

import pytest
from playwright.async_api import Browser, Locator, Route, expect

from shared import KINDS
from tests.faults import FaultyRecord, Gate, refuse_for_good
from tests.pages.browser.browsing import (
    DOOMED,
    ITEMS,
    JOHN,
    LAST,
    book,
    expect_motion,
    expect_status,
    no_reload,
    refused,
    step,
    tab,
    window,
)


async def test_a_trip_is_booked_by_the_form_and_seen_to_go_forward_and_then_back(
    chromium: Browser, origin: str, faults: FaultyRecord
) -> None:
    forward, back, further_back = Gate(), Gate(), Gate()
    faults.faults["reserve", "hotel"] = forward
    faults.faults["cancel", "hotel"] = back
    faults.faults["cancel", "car"] = further_back
    async with tab(chromium, origin) as page:
        await page.goto("/")
        await page.get_by_label("Traveller's name").fill(JOHN["name"])
        for kind in KINDS:
            label = kind.capitalize().replace("_", " ")
            await page.get_by_label(label, exact=True).fill((ITEMS | DOOMED)[kind])
        await page.get_by_role("button", name="Book the trip").click()
        await page.wait_for_url("**/trips/*")
        async with no_reload(page):
            await expect_motion(page, "Going on: booking the hotel")
            await expect(step(page, "hotel").locator(".state")).to_have_text("Booking")
            assert await arrow_before(step(page, "hotel")) == "→"
            # A screen reader is told.
            said = page.locator("#said")
            await expect(said).to_have_attribute("role", "status")
            await forward.open()
            await expect(said).to_contain_text("Going back: undoing the hotel")
            await expect_motion(page, "Going back: undoing the hotel")
            await expect(step(page, LAST)).to_contain_text(f"Invalid {LAST} booking")
            await expect(step(page, "hotel").locator(".state")).to_have_text("Undoing")
            await expect(step(page, "car").locator(".state")).to_contain_text("Booked")
            assert await arrow_before(step(page, "hotel")) == "←"
            await back.open()
            await expect_motion(page, "Going back: undoing the car")
            await expect(step(page, "hotel").locator(".state")).to_contain_text("Undone in")
            await further_back.open()
            await expect_status(page, "Rolled back")
            await expect_motion(page, "Nothing is held")
            await expect(page).to_have_title("John Doe: Rolled back · Trip booking")
            await expect(page.locator("#trip .reason")).to_contain_text(f"Invalid {LAST} booking")


async def arrow_before(step: Locator) -> str:
    """Return the sign between a step and the one before it."""
    content: str = await step.evaluate("step => getComputedStyle(step, '::before').content")
    return content.strip('"')[0]


@pytest.mark.slow
async def test_the_list_follows_its_trips_and_shows_first_what_needs_attention(
    chromium: Browser, origin: str, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    faults.faults["cancel", "hotel"] = refuse_for_good
    async with window(chromium, origin) as browser:
        listing, page = await browser.new_page(), await browser.new_page()
        await listing.goto("/trips")
        row = listing.get_by_role("row").filter(has_text="Watched")
        async with no_reload(listing):
            await book(page, name="Watched", **DOOMED)
            await expect(row).to_contain_text("Under way")
            await gate.open()
            await expect(row).to_contain_text("Needs attention")
        await listing.get_by_role("link", name="Needs attention").click()
        await expect(row).to_have_count(1)
        await listing.get_by_role("link", name="Booked").click()
        await expect(row).to_have_count(0)


async def busy(route: Route) -> None:
    await route.fulfill(status=503, content_type="text/html", body="<p>The service is busy.</p>")


@pytest.mark.slow
async def test_a_page_whose_service_is_busy_says_so_and_goes_on_by_itself(
    chromium: Browser, origin: str, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    async with tab(chromium, origin, refused(503)) as page:
        await book(page)
        await expect_motion(page, "Going on: booking the hotel")
        away = page.get_by_role("status").filter(has_text="Not up to date")
        async with no_reload(page):
            await page.route("**/now/**", busy)
            await expect(away).to_be_visible()
            await gate.open()
            await expect_motion(page, "Going on: booking the hotel")
            await page.unroute_all()
            await expect_status(page, "Booked")
            await expect(away).not_to_be_visible()
