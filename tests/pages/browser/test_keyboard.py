"""The pages by keyboard alone, in a real browser: the focus is seen, and is never lost."""

from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.faults import FaultyRecord, Gate
from tests.pages.browser.browsing import (
    DOOMED,
    JOHN,
    book,
    expect_alert,
    expect_motion,
    expect_status,
    fill_in,
    no_reload,
    refused,
    tab,
    trips_of,
    window,
)

pytestmark = pytest.mark.slow

STILL: dict[str, Any] = {"reduced_motion": "reduce"}
"""What has the focus is in view at once, without scrolling for a while."""

OUTLINE = """() => {
    const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
    const { top, bottom, width, height } = document.activeElement.getBoundingClientRect();
    return outlineStyle != 'none' && parseFloat(outlineWidth) >= 2 && width > 0 && height > 0
        && top >= 0 && bottom <= innerHeight;
}"""
"""Whether what has the focus is in view and shows that it has."""

FOCUSED = "document.activeElement?.id || document.activeElement?.textContent.trim()"


async def tab_to(page: Page, wanted: str, most: int = 20) -> None:
    """Press Tab until what has this id or text has the focus; each stop on the way is seen."""
    stops = []
    for _ in range(most):
        await page.keyboard.press("Tab")
        stops.append(await page.evaluate(FOCUSED))
        assert await page.evaluate(OUTLINE), f"{stops[-1]} does not show that it has the focus"
        if stops[-1] == wanted:
            return
    raise AssertionError(f"{wanted} is not reached: {stops}")


async def test_a_trip_is_booked_and_cancelled_by_keyboard(
    chromium: Browser, origin: str, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "car"] = car = Gate()
    faults.faults["reserve", "hotel"] = hotel = Gate()
    async with tab(chromium, origin, refused(400), **STILL) as page:
        await page.goto("/")
        await tab_to(page, "Skip to the content", most=1)
        await page.keyboard.press("Enter")
        await expect(page.locator("#main")).to_be_focused()
        await tab_to(page, "name", most=1)
        await page.keyboard.press("Enter")
        await expect_alert(page, "The trip was not booked")
        await expect(page.locator("#name")).to_be_focused()
        for name, value in JOHN.items():
            await expect(page.locator(f"#{name}")).to_be_focused()
            await page.keyboard.type(value)
            await page.keyboard.press("Tab")
        await tab_to(page, "Book the trip")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/trips/*")

        await expect_motion(page, "Going on: booking the car")
        async with no_reload(page):
            await tab_to(page, "timeline")
            await car.open()
            await expect_motion(page, "Going on: booking the hotel")
            await expect(page.locator("#timeline")).to_be_focused()
            await tab_to(page, "Cancel this trip…")
            await page.keyboard.press("Enter")
            await tab_to(page, "Yes, cancel the trip")
            await page.keyboard.press("Enter")
            await expect_status(page, "Cancelled")
            await expect(page.locator("#main")).to_be_focused()
            await hotel.open()
        assert len(await trips_of(page, JOHN["name"])) == 1


async def test_the_focus_is_not_lost_with_what_may_be_done_no_more(
    chromium: Browser, origin: str, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    async with tab(chromium, origin, **STILL) as page:
        await fill_in(page, **DOOMED)
        await tab_to(page, "Book the trip")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/trips/*")
        await expect_motion(page, "Going on: booking the hotel")
        async with no_reload(page):
            await tab_to(page, "Cancel this trip…")
            await gate.open()
            await expect_status(page, "Rolled back")
            await expect(page.locator("#main")).to_be_focused()
            await tab_to(page, "timeline")


async def test_the_focus_stays_where_it_is_in_a_list_that_moves(
    chromium: Browser, origin: str
) -> None:
    async with window(chromium, origin, **STILL) as browser:
        listing, page = await browser.new_page(), await browser.new_page()
        first = await book(page, name="First")
        second = await book(page, name="Second")
        await listing.goto("/trips?limit=2")
        async with no_reload(listing):
            await expect(listing.get_by_role("row")).to_have_count(3)
            await tab_to(listing, second)
            third = await book(page, name="Third")
            await expect(listing.locator(f"[id='{third}']")).to_be_visible()
            await expect(listing.get_by_role("link", name="Second")).to_be_focused()
            await tab_to(listing, "older")
            await book(page, name="Fourth")
            await expect(listing.get_by_role("link", name="Fourth")).to_be_visible()
            await expect(listing.locator("#older")).to_be_focused()
        await listing.keyboard.press("Enter")
        await expect(listing.locator(f"[id='{first}']")).to_be_visible()
