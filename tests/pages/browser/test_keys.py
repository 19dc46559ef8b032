"""A service with API keys, in a real browser: it asks for one, and again once that was replaced."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect
from temporalio.client import Client

from tests.faults import FaultyRecord, refuse_for_good
from tests.pages.browser.browsing import (
    DOOMED,
    book,
    expect_alert,
    expect_status,
    fill_in,
    hold_still,
    refused,
    site,
    tab,
    window,
)
from tests.pages.browser.test_reading import obstacles

pytestmark = pytest.mark.slow

SHOP, DESK = (f"secret-of-{name:-<16}" for name in ("shop", "desk"))
STORED = "sessionStorage.getItem('api-key')"


@pytest.fixture
async def origin(client: Client, faults: FaultyRecord) -> AsyncIterator[str]:
    keys = f"shop:{SHOP},desk:{DESK}:operator"
    async with site(client, api_keys=keys) as served:
        yield served


async def use(page: Page, key: str) -> None:
    await page.get_by_label("Your key").fill(key)
    await page.get_by_role("button", name="Use it").click()


async def test_a_key_is_asked_for_and_kept_for_the_tab_only(chromium: Browser, origin: str) -> None:
    async with window(chromium, origin, refused(401)) as browser:
        page = await browser.new_page()
        await fill_in(page, name="Wanted")
        await use(page, "no such \u043a\u043b\u044e\u0447")
        await expect_alert(page, "This key is not valid here.")
        assert await page.evaluate(STORED) is None
        await use(page, SHOP)
        await expect(page.get_by_label("Traveller's name")).to_have_value("Wanted")
        await expect(page.locator("#caller")).to_contain_text("shop")
        await page.get_by_role("button", name="Book the trip").click()
        await page.wait_for_url("**/trips/*")
        await expect_status(page, "Booked")
        await page.get_by_role("link", name="Trips", exact=True).click()
        await expect(page.get_by_role("link", name="Wanted")).to_be_visible()
        assert await page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        assert SHOP not in page.url

        another = await browser.new_page()
        await another.goto("/trips")
        await expect(another.get_by_label("Your key")).to_be_visible()
        await expect(another.get_by_text("Wanted")).to_have_count(0)

        await page.get_by_role("button", name="Forget the key").click()
        await expect(page.get_by_label("Your key")).to_be_visible()
        await expect(page.get_by_text("Wanted")).to_have_count(0)
        assert await page.evaluate(STORED) is None
        await use(page, "no such key")
        await expect_alert(page, "This key is not valid here.")
        assert await obstacles(page) == []


async def test_a_key_that_is_good_no_more_is_asked_for_again(
    chromium: Browser, origin: str, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "hotel"] = refuse_for_good
    async with tab(chromium, origin, refused(401)) as page:
        await page.goto("/")
        await use(page, SHOP)
        await expect(page.locator("#caller")).to_contain_text("shop")
        await book(page, **DOOMED)
        await expect_status(page, "Needs attention")
        await page.evaluate("sessionStorage.setItem('api-key', 'rotated away')")
        # The page asks for the news of the trip.
        await expect(page.get_by_label("Your key")).to_be_visible()
        await use(page, DESK)
        await expect_status(page, "Needs attention")

        await hold_still(page)
        await page.evaluate("sessionStorage.setItem('api-key', 'rotated away')")
        await page.get_by_role("button", name="Try the undo again").click()
        told = await expect_alert(page, "This key is not valid here.")
        await told.get_by_role("link", name="Use another").click()
        await use(page, DESK)
        await expect_status(page, "Needs attention")
