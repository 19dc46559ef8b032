"""The pages by keyboard alone, in a real browser: the focus is seen, and is never lost."""

from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.faults import FaultyRecord, Gate
from tests.pages.browsing import (
    DOOMED,
    JOHN,
    expect_alert,
    expect_motion,
    expect_status,
    no_reload,
    refused,
    tab,
    trips_of,
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
        await tab_to(page, "name")
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
        await page.goto("/")
        await page.goto(f"/?name=Focused&car=a&hotel=b&{'flight'}={DOOMED['flight']}")
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


async def test_one_leaps_over_the_links_to_the_content(chromium: Browser, origin: str) -> None:
    async with tab(chromium, origin, **STILL) as page:
        await page.goto("/trips")
        await tab_to(page, "Skip to the content", most=1)
        await page.keyboard.press("Enter")
        await expect(page.locator("#main")).to_be_focused()
        await tab_to(page, "All", most=1)
