"""What a traveller and a supplier write shows as itself in Temporal's Web UI, in a real browser."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, expect

from shared import KINDS, cancellation_id
from tests.pages.browser.browsing import WEB_UI, tab
from tests.processes import FAST_TIMERS, Service, free_port, service, supplier_urls

pytestmark = pytest.mark.slow

HTML = "<script>alert(1)</script><img src=x onerror=alert(1)>"
MARKDOWN = '# h **b** `c` [x](javascript:alert(1)) ![x](http://127.0.0.1:1/x.png) -- 1/2 "q" | \\|'
EMOJI = "😀" * 200
FROM_THE_RIGHT = "\u202eabc שלום"
TEXTS = cycle((HTML, MARKDOWN, EMOJI, FROM_THE_RIGHT))
WRITTEN = dict(zip(("name", *KINDS), TEXTS, strict=False))

SOLD_OUT = f"sold-out {HTML} **b** | `c` {{runId}} [x](javascript:x) ![x](http://127.0.0.1:1/x.png)"
"""The simulator's error repeats it."""


@dataclass(frozen=True)
class WebUi:
    """A service whose Temporal has its Web UI."""

    service: Service
    url: str
    trips: tuple[dict[str, Any], dict[str, Any]]
    """What the API tells of one that is booked, and of one that is rolled back."""


@pytest.fixture(scope="module")
def web_ui() -> Iterator[WebUi]:
    ui_port, suppliers_port = free_port(), free_port()
    url = f"http://127.0.0.1:{ui_port}"
    # Of a repeated option the last one counts.
    options = (*FAST_TIMERS, "--headless=false", "--ui-port", str(ui_port))
    suppliers_at = supplier_urls(suppliers_port)
    with service("sqlite", options, TEMPORAL_UI_URL=url, **suppliers_at) as running:
        suppliers = running.simulated_suppliers("--port", str(suppliers_port))
        suppliers.start()
        suppliers.wait_for_output("Suppliers at")
        running.start()
        yield WebUi(
            running,
            url,
            (outcome(running, WRITTEN), outcome(running, WRITTEN | {KINDS[-1]: SOLD_OUT})),
        )


def outcome(running: Service, wanted: dict[str, str]) -> dict[str, Any]:
    """Book a trip with one try of each step; return what the look-up tells at its end."""
    user_id = running.request("POST", "/book", {**wanted, "attempts": 1}).body["user_id"]
    found: dict[str, Any] = running.request("GET", f"/bookings/{user_id}?wait=30").body
    return found


async def test_a_link_leads_to_the_timeline_with_a_run_and_without(
    chromium: Browser, web_ui: WebUi
) -> None:
    booked = outcome(web_ui.service, WRITTEN)
    user_id, with_run = booked["user_id"], booked["links"]["web_ui"]
    without_run = with_run.rsplit("/", 2)[0]
    assert without_run.endswith(f"/{user_id}")
    async with tab(chromium, web_ui.url, **WEB_UI) as page:
        for link in (with_run, without_run):
            await page.goto(link)
            await expect(page.get_by_text(f"book_{KINDS[0]} • Book")).to_be_visible()
            await expect(page).to_have_url(with_run)
        web_ui.service.request("POST", f"/bookings/{user_id}/cancel")
        cancelled = web_ui.service.request("GET", f"/bookings/{user_id}?wait=30").body
        await page.goto(cancelled["links"]["web_ui"])
        await expect(page.get_by_text(f"undo_book_{KINDS[0]} • Undo")).to_be_visible()
        await expect(page.get_by_text(cancellation_id(user_id)).first).to_be_visible()


async def test_markdown_shows_what_was_written(chromium: Browser, web_ui: WebUi) -> None:
    async with tab(chromium, web_ui.url, **WEB_UI) as page:
        for trip in web_ui.trips:
            run = trip["links"]["web_ui"].removesuffix("/timeline")
            await page.goto(f"{run}/user-metadata")

            summary = page.frame_locator("#user-metadata-summary").locator("main")
            await expect(summary).to_contain_text(HTML)
            shown = without_what_is_not_seen(await summary.inner_text()).strip()
            assert shown == " · ".join([HTML, *(step["item"] for step in trip["steps"])])
            assert await elements(summary) == {"pre", "code"}

            details = page.frame_locator("#user-metadata-current-details").locator("main")
            states = ", ".join(f"{step['kind']}: {step['state']}" for step in trip["steps"])
            await expect(details).to_have_text(f"{trip['status']} ({states})")
            assert await elements(details) == {"p", "strong"}


def without_what_is_not_seen(text: str) -> str:
    """Return a text less the isolates and word joiners that keep it as it is."""
    return re.sub("[\u2060\u2068\u2069]", "", text)


async def elements(shown: Locator) -> set[str]:
    """Return the names of all elements in one."""
    names = await shown.locator("*").evaluate_all("all => all.map(each => each.localName)")
    return set(names)
