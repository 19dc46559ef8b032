"""The pages in a real browser that runs no script: the same is done by reloading."""

import pytest
from playwright.async_api import Browser, expect

from tests.faults import FaultyRecord, Gate
from tests.pages.browser.browsing import book, expect_motion, expect_status, tab, until_over


@pytest.mark.slow
async def test_a_trip_is_booked_looked_up_and_cancelled(
    chromium: Browser, origin: str, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "hotel"] = gate = Gate()
    async with tab(chromium, origin, java_script_enabled=False) as page:
        user_id = await book(page)
        await gate.reached()
        await page.reload()
        await expect_motion(page, "Going on: booking the hotel")
        await expect(page.locator("noscript")).to_be_visible()
        # What stands in it is found by no text.
        assert "reload the page" in await page.locator("noscript").inner_text()
        await gate.open()
        await until_over(page, user_id)
        await page.reload()
        await expect_status(page, "Booked")
        await page.get_by_role("link", name="Trips", exact=True).click()
        await page.get_by_role("link", name="John Doe").click()
        await page.get_by_text("Cancel this trip…").click()
        await page.get_by_role("button", name="Yes, cancel the trip").click()
        await page.wait_for_url(f"**/trips/{user_id}")
        await until_over(page, user_id)
        await page.reload()
        await expect_status(page, "Cancelled")
