"""The pages in a real browser that runs no script: the same is done by reloading."""

import pytest
from playwright.async_api import Browser, Page, expect

from tests.faults import FaultyRecord, Gate
from tests.pages.browser.browsing import (
    JOHN,
    book,
    expect_motion,
    expect_status,
    fill_in,
    refused,
    tab,
    trips_of,
    until_over,
)


async def reload_until_over(page: Page, user_id: str) -> None:
    await until_over(page, user_id)
    await page.reload()


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
        await reload_until_over(page, user_id)
        await expect_status(page, "Booked")
        await page.get_by_role("link", name="Trips", exact=True).click()
        await page.get_by_role("link", name="John Doe").click()
        await page.get_by_text("Cancel this trip…").click()
        await page.get_by_role("button", name="Yes, cancel the trip").click()
        await page.wait_for_url(f"**/trips/{user_id}")
        await reload_until_over(page, user_id)
        await expect_status(page, "Cancelled")


@pytest.mark.slow
async def test_what_is_wrong_is_told_at_its_fields(chromium: Browser, origin: str) -> None:
    async with tab(chromium, origin, refused(400), java_script_enabled=False) as page:
        await fill_in(page, name="", attempts="x")
        await page.get_by_role("button", name="Book the trip").click()
        await expect(page.locator("#name-error")).to_contain_text("must not be empty")
        await expect(page.locator("#attempts-error")).to_contain_text("whole number")
        await expect(page.get_by_label("Hotel")).to_have_value(JOHN["hotel"])
        await page.get_by_label("Traveller's name").fill("Corrected")
        await page.get_by_label("Tries").fill("3")
        await page.get_by_role("button", name="Book the trip").click()
        await page.wait_for_url("**/trips/*")
        assert len(await trips_of(page, "Corrected")) == 1
