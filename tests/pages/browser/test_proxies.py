"""The pages behind a proxy that answers for the service: a 502, or a page of its own with 200."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web
from playwright.async_api import Browser, Page, expect

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

TITLE = "The proxy's own page"
OWN_PAGE = f"<title>{TITLE}</title><main id=main><p id=problem>{TITLE}</p></main>"


class Proxy:
    """Passes requests on. It answers those that match `loses` with a page of its own."""

    def __init__(self, service: str, status: int, http: ClientSession) -> None:
        self._service, self._status, self._http = service, status, http
        self.loses = "nothing"

    async def answer(self, request: web.Request) -> web.Response:
        """Let the service do what is asked, and answer."""
        body = await request.read()
        url = f"{self._service}{request.path_qs}"
        async with self._http.request(
            request.method, url, headers=request.headers, data=body, allow_redirects=False
        ) as answered:
            content = await answered.read()
        if re.fullmatch(self.loses, f"{request.method} {request.path}"):
            return web.Response(status=self._status, text=OWN_PAGE, content_type="text/html")
        headers = answered.headers.copy()
        for name in ("Content-Length", "Transfer-Encoding"):
            headers.popall(name, None)
        return web.Response(status=answered.status, body=content, headers=headers)


@asynccontextmanager
async def proxied(service: str, status: int) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy before the service; yields it and its origin."""
    app = web.Application()
    async with ClientSession(auto_decompress=False) as http:
        proxy = Proxy(service, status, http)
        app.router.add_route("*", "/{path:.*}", proxy.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield proxy, f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


async def press(page: Page, name: str = "Book the trip") -> None:
    await page.get_by_role("button", name=name).click()


async def test_the_form_stays_with_its_key_also_over_a_reload(
    chromium: Browser, origin: str, status: int
) -> None:
    name = "Proxied"
    async with (
        proxied(origin, status) as (proxy, address),
        tab(chromium, address, refused(status), refused(404)) as page,
    ):
        await page.goto("/")
        for label in ("Traveller's name", "Car", "Hotel", "Flight"):
            await page.get_by_label(label).fill(name)
        proxy.loses = "POST /trips"
        async with no_reload(page):
            await press(page)
            await expect_alert(page, "No answer has come")
            await expect(page.get_by_label("Hotel")).to_have_value(name)
        proxy.loses = "GET /"
        await page.reload()
        await expect(page).to_have_title(TITLE)
        proxy.loses = "nothing"
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
    async with (
        proxied(origin, status) as (proxy, address),
        tab(chromium, address, refused(status), refused(400)) as page,
    ):
        await fill_in(page, name=name, attempts="101")
        await press(page)
        await expect_alert(page, "The trip was not booked")
        await page.reload()
        await expect(page.get_by_label("Traveller's name")).to_have_value(name)
        await expect(page.get_by_text("No answer has come")).not_to_be_visible()

        await page.get_by_label("Tries").fill("5")
        proxy.loses = "POST /trips"
        await press(page)
        await expect_alert(page, "No answer has come")
        proxy.loses = "nothing"
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
    async with (
        proxied(origin, status) as (proxy, address),
        tab(chromium, address, refused(status)) as page,
    ):
        user_id = await book(page, name="Shown")
        await expect_status(page, "Booked")
        away = page.get_by_role("status").filter(has_text="Not up to date")
        async with no_reload(page):
            proxy.loses = ".*/cancel|GET /now/.*"
            await page.get_by_text("Cancel this trip…").click()
            await press(page, "Yes, cancel the trip")
            await expect_alert(page, "No answer has come")
            await expect(away).to_be_visible()
            await expect_status(page, "Booked")
            proxy.loses = "GET /now/.*"
            await press(page, "Yes, cancel the trip")
            await expect_status(page, "Cancelled")

        await page.goto("/trips?limit=100")
        row = page.get_by_role("row").filter(has=page.locator(f"[id='{user_id}']"))
        async with no_reload(page):
            await expect(away).to_be_visible()
            await expect(row).to_contain_text("Cancelled")
            proxy.loses = "nothing"
            await expect(away).not_to_be_visible()
            await expect(row).to_contain_text("Cancelled")
