"""The booking form in a real browser: it tells what is wrong, and books no trip twice."""

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.pages.browser.browsing import (
    AWAY,
    ITEMS,
    JOHN,
    expect_alert,
    expect_status,
    fill_in,
    no_reload,
    refused,
    tab,
    trips_of,
)

pytestmark = pytest.mark.slow


async def press(page: Page) -> None:
    await page.get_by_role("button", name="Book the trip").click()


async def test_what_is_wrong_is_told_at_its_fields_and_the_rest_is_kept(
    chromium: Browser, origin: str
) -> None:
    async with tab(chromium, origin, refused(400)) as page:
        await fill_in(page, name="", attempts="101")
        async with no_reload(page):
            await press(page)
            for name, message in (
                ("name", "must not be empty"),
                ("attempts", "less than or equal to 100"),
            ):
                await expect(page.locator(f"#{name}")).to_have_attribute("aria-invalid", "true")
                await expect(page.locator(f"#{name}-error")).to_contain_text(message)
                await expect_alert(page, message)
        await expect(page.get_by_label("Traveller's name")).to_be_focused()
        await expect(page.get_by_label("Hotel")).to_have_value(JOHN["hotel"])
        await page.get_by_label("Traveller's name").fill("Jane")
        await page.get_by_label("Tries").fill("")
        await press(page)
        await page.wait_for_url("**/trips/*")
        await expect_status(page, "Booked")
        assert len(await trips_of(page, "Jane")) == 1


async def test_a_double_click_books_one_trip(chromium: Browser, origin: str) -> None:
    async with tab(chromium, origin) as page:
        await fill_in(page, name="Hasty")
        await page.get_by_role("button", name="Book the trip").dblclick()
        await page.wait_for_url("**/trips/*")
        await expect_status(page, "Booked")
        assert len(await trips_of(page, "Hasty")) == 1


async def test_after_a_lost_answer_the_form_books_no_second_trip_whatever_is_pressed(
    chromium: Browser, origin: str
) -> None:
    async def lose_answer(route: Route) -> None:
        await route.fetch(max_redirects=0)
        await route.abort()

    async with tab(chromium, origin, *AWAY, refused(422)) as page:
        await fill_in(page, name="Patient")
        await page.route("**/trips", lose_answer, times=1)
        await press(page)
        await expect_alert(page, "No answer has come")
        await page.get_by_label("Hotel").fill("another-hotel")
        await press(page)
        told = await expect_alert(page, "was used with another body")
        await expect(told).to_be_focused()
        await expect(told.get_by_role("link", name="See how the trip stands")).to_be_visible()
        await expect(page.get_by_label("Hotel")).to_have_value("another-hotel")
        await page.get_by_label("Hotel").fill(ITEMS["hotel"])
        await press(page)
        await page.wait_for_url("**/trips/*")
        await expect_status(page, "Booked")
        assert len(await trips_of(page, "Patient")) == 1
