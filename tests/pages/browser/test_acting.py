"""Cancelling and repairing from a trip's page in a real browser."""

import pytest
from playwright.async_api import Browser, Page, expect

from tests.faults import FaultyRecord, Gate, refuse_for_good
from tests.pages.browser.browsing import (
    DOOMED,
    book,
    expect_motion,
    expect_status,
    no_reload,
    step,
    tab,
)

pytestmark = pytest.mark.slow


async def cancel(page: Page) -> None:
    """Cancel the trip of an open page, which asks first."""
    sure = page.get_by_role("button", name="Yes, cancel the trip")
    await expect(sure).not_to_be_visible()
    await page.get_by_text("Cancel this trip…").click()
    await expect(page.get_by_text("This cannot be undone.")).to_be_visible()
    await sure.click()


async def test_a_trip_is_cancelled_while_it_runs(
    chromium: Browser, origin: str, faults: FaultyRecord
) -> None:
    faults.faults["reserve", "hotel"] = booking = Gate()
    faults.faults["cancel", "car"] = undoing = Gate()
    async with tab(chromium, origin) as page:
        await book(page)
        await expect_motion(page, "Going on: booking the hotel")
        async with no_reload(page):
            await cancel(page)
            await expect_motion(page, "Going back: undoing the car")
            await expect(page.get_by_text("Cancel this trip…")).to_have_count(0)
            await undoing.open()
            await expect_status(page, "Cancelled")
        await booking.open()
        await expect(step(page, "car").locator(".state")).to_contain_text("Undone")
        await expect_motion(page, "Nothing is held")


async def test_a_stuck_undo_is_retried_and_settled_by_an_operator(
    chromium: Browser, origin: str, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "hotel"] = refuse_for_good
    async with tab(chromium, origin) as page:
        await book(page, **DOOMED)
        async with no_reload(page):
            await expect_status(page, "Needs attention")
            await expect_motion(page, "The undo of the hotel is stuck")
            await expect(step(page, "hotel")).to_contain_text("Undo is stuck")
            await expect(step(page, "hotel")).to_contain_text("The hotel cannot be cancelled")
            await page.get_by_role("button", name="Try the undo again").click()
            await expect(step(page, "hotel")).to_contain_text("Undo is stuck after 2 tries")

            await page.get_by_text("Already settled…").click()
            settle = page.get_by_role("button", name="Mark as settled")
            await settle.click()
            await expect(page.get_by_label("How was the hotel settled?")).to_be_focused()
            await page.get_by_label("How was the hotel settled?").fill("Cancelled by phone.")
            await settle.click()
            await expect_status(page, "Rolled back")
            await expect(step(page, "hotel")).to_contain_text("Settled by an operator")
            await expect(step(page, "hotel")).to_contain_text("Cancelled by phone.")


async def test_what_is_filled_in_stays_while_the_trip_moves(
    chromium: Browser, origin: str, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "hotel"] = refuse_for_good
    faults.faults["cancel", "car"] = car = Gate()
    async with tab(chromium, origin) as page:
        await book(page, **DOOMED)
        await expect(step(page, "hotel")).to_contain_text("Undo is stuck")
        await expect(step(page, "car")).to_contain_text("Undoing")
        async with no_reload(page):
            await page.get_by_text("Already settled…").click()
            note = page.get_by_label("How was the hotel settled?")
            await note.fill("Half a sen")
            await car.open()
            await expect_status(page, "Needs attention")
            await expect(step(page, "car")).to_contain_text("Undone")
            await expect(note).to_be_focused()
            await expect(note).to_have_value("Half a sen")


async def test_a_held_trip_is_confirmed_on_its_page(
    chromium: Browser, origin: str, faults: FaultyRecord
) -> None:
    async with tab(chromium, origin) as page:
        await book(page, hold_seconds="900")
        async with no_reload(page):
            await expect_status(page, "Held")
            await expect_motion(page, "Held for another 14 min")
            await expect(step(page, "car").locator(".state")).to_contain_text("Held")
            confirm = page.get_by_role("button", name="Confirm and book")
            faults.faults["reserve", "hotel"] = booking = Gate()
            await confirm.click()
            await expect_motion(page, "Going on: booking the hotel")
            await expect(confirm).to_have_count(0)
            await booking.open()
            await expect_status(page, "Booked")
        await expect(page.locator(".facts")).to_contain_text("Confirm")


async def test_the_page_of_a_held_trip_tells_when_it_is_cancelled(
    chromium: Browser, origin: str, faults: FaultyRecord
) -> None:
    faults.faults["cancel", "hotel"] = undoing = Gate()
    async with tab(chromium, origin) as page:
        await book(page, hold_seconds="900")
        await expect_status(page, "Held")
        async with no_reload(page):
            await cancel(page)
            await expect_motion(page, "Going back: undoing the hotel")
            await expect(page.get_by_role("button", name="Confirm and book")).to_have_count(0)
            await undoing.open()
            await expect_status(page, "Cancelled")
