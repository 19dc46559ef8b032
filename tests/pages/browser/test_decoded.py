"""Temporal's Web UI shows what is encrypted, to operators only, in a real browser."""

import base64
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from shared import KINDS
from tests.conftest import TEMPORAL_CLI
from tests.encrypting import setting
from tests.pages.browser.browsing import WEB_UI, refused, window
from tests.processes import FAST_TIMERS, Service, free_port, service

pytestmark = pytest.mark.slow

NAME = "Zephyrine Quillfeather"
ITEMS = {"car": "Velocipedion", "hotel": "Caravanserail", "flight": "invalid Ornithopteron"}
WHY = "Invalid flight booking, rolling back!"
DESK = "secret-of-the-desk-0"


@dataclass(frozen=True)
class Encrypted:
    """A service that encrypts, with the Web UI, and a trip that was rolled back."""

    service: Service
    ui: str
    api: str
    run: str
    """Where the Web UI has the trip's run."""


@contextmanager
def encrypted(**settings: str) -> Iterator[Encrypted]:
    port = free_port()
    ui = f"http://127.0.0.1:{port}"
    options = [*FAST_TIMERS, "--headless=false", "--ui-port", str(port)]
    # The API's port is known only when the service is made: the server is told of it then.
    with service(
        "sqlite", options, TEMPORAL_UI_URL=ui, PAYLOAD_KEYS=setting("new"), **settings
    ) as running:
        api = f"http://127.0.0.1:{running.api_port}"
        running.temporal.add_options("--ui-codec-endpoint", f"{api}/codec")
        running.start()
        key = {"Authorization": f"Bearer {DESK}"}
        trip: dict[str, Any] = {"name": NAME, **{str(kind): ITEMS[kind] for kind in KINDS}}
        user_id = running.request("POST", "/book", trip, key).body["user_id"]
        told = running.request("GET", f"/bookings/{user_id}", headers=key).body
        assert told["status"] == "rolled_back"
        yield Encrypted(running, ui, api, told["links"]["web_ui"].removesuffix("/timeline"))


async def expect_decoded(page: Page, run: str) -> None:
    """See that every place of the Web UI shows what was written."""
    await page.goto(f"{run}/timeline")
    for kind in KINDS:
        await expect(page.get_by_text(f"book_{kind} • Book {kind} {ITEMS[kind]}")).to_be_visible()
    await page.goto(f"{run}/history/events/1")
    await expect(page.get_by_text(NAME).first).to_be_visible()
    await page.goto(f"{run}/history")
    await expect(page.get_by_text(WHY).first).to_be_visible()
    await page.goto(f"{run}/memo")
    await expect(page.locator(".cm-content").filter(has_text=NAME)).to_be_visible()
    await page.goto(f"{run}/user-metadata")
    summary = page.frame_locator("#user-metadata-summary").locator("main")
    await expect(summary).to_contain_text(NAME)
    details = page.frame_locator("#user-metadata-current-details").locator("main")
    undone = ", ".join(f"{kind}: undone" for kind in KINDS)
    await expect(details).to_have_text(f"rolled_back ({undone})")


async def test_with_api_keys_it_decodes_in_an_operators_browser_alone(chromium: Browser) -> None:
    with encrypted(API_KEYS=f"desk:{DESK}:operator") as shown:
        # The last ones are the page's that gets no answer, and a fault of the Web UI's own dialog.
        expected = (refused(401), "ERR_FAILED", "Could not parse", "getComputedStyle")
        looks = WEB_UI | {"schemes": (*WEB_UI["schemes"], f"{shown.api}/")}
        async with window(chromium, shown.ui, *expected, **looks) as browser:
            page = await browser.new_page()
            await page.goto(f"{shown.run}/timeline")
            await expect(page.get_by_test_id("data-encoder-status-error")).to_be_visible()
            await expect(page.get_by_text(ITEMS["car"])).to_have_count(0)

            # The browser gets a cookie from a page of the API, by the key of an operator.
            pages = await browser.new_page()
            await pages.goto(f"{shown.api}/trips")
            await pages.get_by_label("Your key").fill(DESK)
            await pages.get_by_role("button", name="Use it").click()
            await pages.get_by_role("button", name="Decode in the Web UI").click()
            await expect(pages.get_by_text("The Web UI decodes")).to_be_visible()

            # The Web UI sends it if it is told to.
            await page.get_by_test_id("data-encoder-status-error").click()
            await page.get_by_test_id("use-local-endpoint-input").check(force=True)
            await page.get_by_label("Codec Server browser endpoint").fill(f"{shown.api}/codec")
            await page.get_by_text("Include cross-origin credentials").click()
            await page.get_by_role("dialog").get_by_role("button", name="Apply").click()
            await expect_decoded(page, shown.run)

            # The cookie goes with the key; the page says so where it cannot.
            await pages.goto(f"{shown.api}/")
            forget = pages.get_by_role("button", name="Forget the key")
            await pages.route("**/codec/cookie", lambda route: route.abort())
            await forget.click()
            await expect(pages.locator("#lost")).to_be_visible()
            assert await pages.evaluate("sessionStorage.getItem('api-key')") is None
            assert "codec" in await cookies(browser, shown)
            await pages.unroute("**/codec/cookie")
            await forget.click()
            await expect(pages.get_by_label("Your key")).to_be_visible()
            assert "codec" not in await cookies(browser, shown)
        assert all(word in shown_by_the_cli(shown) for word in (NAME, WHY, *ITEMS.values()))


async def cookies(browser: BrowserContext, shown: Encrypted) -> set[str]:
    """Return the names of the cookies that the browser sends to the codec server."""
    return {each["name"] for each in await browser.cookies(f"{shown.api}/codec/decode")}


def shown_by_the_cli(shown: Encrypted) -> str:
    """Return what Temporal's CLI tells of the trip."""
    where = ["--address", shown.service.temporal_address, "-w", shown.run.split("/")[-2]]
    decoding = ["--codec-endpoint", f"{shown.api}/codec", "--codec-auth", f"Bearer {DESK}"]
    command = [str(TEMPORAL_CLI), "workflow", "show", "-o", "json", *where, *decoding]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return told + "".join(
        str(base64.b64decode(each)) for each in re.findall(r'"data": "(.*?)"', told)
    )
