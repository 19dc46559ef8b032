"""The pages for every reader: in light and dark, on a telephone, by keyboard, whatever is written.

axe-core finds what hinders those who see, hear or move otherwise: https://www.deque.com/axe
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Locator, Page, expect

from suppliers import Refused, Unavailable
from tests.faults import Call, FaultyRecord, Gate, refuse_for_good, unavailable
from tests.pages.browser.browsing import (
    DOOMED,
    book,
    expect_alert,
    expect_motion,
    expect_status,
    fill_in,
    refused,
    step,
    tab,
)

DESK, TELEPHONE = {"width": 1280, "height": 844}, {"width": 390, "height": 844}
WIDTHS: list[Any] = [DESK, TELEPHONE]
SCHEMES: list[Any] = ["light", "dark"]

WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

WRITTEN = {
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "emoji": "😀" * 200,
    "from the right": "\u202eabc שלום",
    "without a blank": "x" * 200,
    "template": "{{ 7 * 7 }} &lt;b&gt; \"quoted\" 'too' \\",
}


async def phases(page: Page, faults: FaultyRecord) -> AsyncIterator[str]:
    """Show one page after the other, and a trip in each of its phases."""
    await page.goto("/")
    yield "form"
    await fill_in(page, name="", attempts="x")
    await page.get_by_role("button", name="Book the trip").click()
    await expect_alert(page, "The trip was not booked")
    yield "errors"

    faults.faults["reserve", "hotel"] = booking = Gate()
    await book(page)
    await expect_motion(page, "Going on: booking the hotel")
    await page.get_by_text("Cancel this trip…").click()
    yield "booking, with a question"
    await booking.open()
    await expect_status(page, "Booked")
    yield "booked"
    await page.get_by_role("button", name="Yes, cancel the trip").click()
    await expect_status(page, "Cancelled")
    yield "cancelled"

    at_last = Gate()

    async def fail_at_first(call: Call) -> None:
        await (unavailable if call.number == 1 else at_last)(call)

    faults.faults["reserve", "hotel"] = fail_at_first
    faults.faults["cancel", "hotel"] = undoing = Gate()
    await book(page, **DOOMED)
    await expect_motion(page, "Going on: booking the hotel, try 2")
    yield "retrying"
    await at_last.open()
    await expect_motion(page, "Going back: undoing the hotel")
    yield "undoing"
    await undoing.open()
    await expect_status(page, "Rolled back")
    yield "rolled back"

    faults.faults["cancel", "hotel"] = refuse_for_good
    await book(page, **DOOMED)
    await expect_status(page, "Needs attention")
    await page.get_by_text("Already settled…").click()
    yield "stuck"
    await page.goto("/trips")
    yield "list"
    await page.goto("/trips?status=running")
    yield "empty list"
    await page.goto("/trips/nobody")
    yield "problem"
    await page.goto("/docs")
    yield "docs"


@pytest.mark.slow
async def test_nothing_hinders_a_reader_in_any_phase(
    chromium: Browser, origin: str, faults: FaultyRecord
) -> None:
    async with tab(chromium, origin, refused(400), refused(404)) as page:
        found = [
            (phase, obstacle)
            async for phase in phases(page, faults)
            for obstacle in await obstacles(page)
        ]
        assert found == []


async def obstacles(page: Page) -> list[str]:
    """Return what axe-core and the widths find on an open page in each of its looks."""
    found = []
    for width in WIDTHS:
        for scheme in SCHEMES:
            await page.set_viewport_size(width)
            await page.emulate_media(color_scheme=scheme)
            found += [f"{width['width']}, {scheme}: {each}" for each in await hindrances(page)]
    return found + await sideways(page)


async def hindrances(page: Page) -> list[str]:
    """Return what axe-core finds on an open page as it looks."""
    found = await Axe().run(page, options={"runOnly": WCAG, "resultTypes": ["violations"]})
    assert found.response["passes"]
    return [
        f"{rule['id']}: {node['target']} {node['failureSummary']}"
        for rule in found.response["violations"]
        for node in rule["nodes"]
    ]


async def sideways(page: Page) -> list[str]:
    """Return the parts of an open page that are wider than where they stand."""
    found: list[str] = []
    for width in WIDTHS:
        await page.set_viewport_size(width)
        found += await page.evaluate(TOO_WIDE)
    return found


TOO_WIDE = """() => [document.documentElement, ...document.querySelectorAll('main *:not(input)')]
    .filter(each => getComputedStyle(each).display != 'inline')
    .filter(each => each.clientWidth && each.scrollWidth > each.clientWidth)
    .filter(each => !each.closest('pre, svg, .unseen'))
    .map(each => `${each.localName}.${each.className}: ${each.scrollWidth} in ${innerWidth}`)"""


@pytest.mark.slow
async def test_the_arrows_between_the_steps_are_whole_at_every_width(
    chromium: Browser, origin: str, faults: FaultyRecord
) -> None:
    async with tab(chromium, origin) as page:
        await book(page)
        await expect_status(page, "Booked")
        for width in (320, 704, 705, 760, 815, 816, 1100):
            await page.set_viewport_size({"width": width, "height": 844})
            lefts, tops, arrows = await page.evaluate(ARROWS)
            assert len(set(lefts)) == 1 or len(set(tops)) == 1, f"Some steps wrap at {width}"
            assert min(arrows) >= 0, f"Cut off at {width}"


ARROWS = """() => {
    const steps = [...document.querySelectorAll('.step')];
    const places = steps.map(each => each.getBoundingClientRect());
    const arrows = steps.slice(1).map((each, i) =>
        places[i + 1].left + parseFloat(getComputedStyle(each, '::before').left));
    return [places.map(each => each.left), places.map(each => each.top), arrows];
}"""


@pytest.mark.slow
async def test_what_is_printed_has_no_menu_and_no_buttons(
    chromium: Browser, origin: str, faults: FaultyRecord
) -> None:
    async with tab(chromium, origin) as page:
        await page.emulate_media(media="print")
        for path in ("/", "/docs", "/trips"):
            await page.goto(path)
            await nothing_to_press(page)
        await page.emulate_media(media="screen")
        await book(page)
        await expect_status(page, "Booked")
        await expect(page.get_by_text("Cancel this trip…")).to_be_visible()
        await page.emulate_media(media="print")
        await nothing_to_press(page)
        await expect(page.get_by_text("Cancel this trip…")).not_to_be_visible()
        await expect(page.get_by_role("heading", name="John Doe")).to_be_visible()


async def nothing_to_press(page: Page) -> None:
    """Check that neither a menu nor a button shows."""
    await expect(page.get_by_role("heading").first).to_be_visible()
    await expect(page.get_by_role("navigation", name="Pages")).not_to_be_visible()
    await expect(page.get_by_role("button").locator("visible=true")).to_have_count(0)


@pytest.mark.slow
@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
async def test_what_is_written_shows_as_itself_and_the_layout_holds(
    chromium: Browser, origin: str, faults: FaultyRecord, written: str
) -> None:
    gate = Gate()

    async def fail_and_hold(call: Call) -> None:
        if call.number == 1:
            raise Unavailable(written)
        await gate(call)

    async def refuse(call: Call) -> None:
        raise Refused(written)

    faults.faults["reserve", "hotel"] = fail_and_hold
    faults.faults["cancel", "hotel"] = refuse
    async with tab(chromium, origin, refused(400)) as page:
        await fill_in(page, name=written, hotel=written, attempts="x")
        await page.get_by_role("button", name="Book the trip").click()
        await expect_alert(page, "The trip was not booked")
        for name in ("name", "hotel"):
            await expect(page.locator(f"#{name}")).to_have_value(written)
        assert await sideways(page) == []

        await page.get_by_label("Tries").fill("2")
        await page.get_by_label("Flight").fill(f"invalid {written}"[:200])
        await page.get_by_role("button", name="Book the trip").click()
        await page.wait_for_url("**/trips/*")
        await expect_motion(page, "Going on: booking the hotel, try 2")
        await shows(page.locator("h1"), written)
        await shows(step(page, "hotel").locator("h2"), written)
        await shows(step(page, "hotel").locator(".last-error"), written)
        assert await page.title() == f"{written}: Under way · Trip booking"
        assert await sideways(page) == []

        await gate.open()
        await expect_status(page, "Needs attention")
        await shows(step(page, "hotel").locator(".last-error"), written)
        await page.get_by_text("Already settled…").click()
        await page.get_by_label("How was the hotel settled?").fill(written)
        await page.get_by_role("button", name="Mark as settled").click()
        await shows(step(page, "hotel").locator(".note"), written)
        assert await sideways(page) == []

        await page.goto("/trips")
        row = page.get_by_role("row").nth(1)
        await shows(row.get_by_role("rowheader"), written)
        await shows(row.get_by_role("cell").nth(2), written)
        assert await sideways(page) == []


async def shows(shown: Locator, written: str) -> None:
    """Wait until a text shows, and check that it turns nothing around it."""
    isolated = shown.locator("bdi")
    await expect(isolated).to_be_visible()
    assert await isolated.text_content() == written
