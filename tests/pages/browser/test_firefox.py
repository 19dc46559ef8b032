"""The pages in Debian's Firefox, which keeps, restores and caches pages in its own way.

The stories are those that Chromium is told.
"""

import inspect
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from playwright.async_api import Browser, async_playwright, expect
from temporalio.client import Client

from tests.faults import FaultyRecord
from tests.pages.browser import test_acting, test_booking, test_proxies, test_watching
from tests.pages.browser.browsing import PATIENCE, site
from tests.processes import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not shutil.which("firefox-esr"), reason="needs Debian's package firefox-esr"
    ),
]

STORIES: list[Callable[..., Awaitable[None]]] = [
    test_booking.test_what_is_wrong_is_told_at_its_fields_and_the_rest_is_kept,
    test_booking.test_a_double_click_books_one_trip,
    test_proxies.test_the_form_stays_with_its_key_also_over_a_reload,
    test_proxies.test_a_trip_and_the_list_keep_what_they_show,
    test_watching.test_a_trip_is_booked_by_the_form_and_seen_to_go_forward_and_then_back,
    test_acting.test_what_is_filled_in_stays_while_the_trip_moves,
]


@pytest.fixture(scope="module")
async def firefox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    program = tmp_path_factory.mktemp("firefox") / "firefox"
    program.write_text(
        f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m tests.pages.browser.firefox "$@"\n'
    )
    program.chmod(0o755)
    expect.set_options(timeout=PATIENCE)
    async with async_playwright() as playwright:
        browser = await playwright.firefox.launch(channel="moz-firefox", executable_path=program)
        yield browser
        await browser.close()


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_firefox(
    firefox: Browser, client: Client, faults: FaultyRecord, story: Callable[..., Awaitable[None]]
) -> None:
    async with site(client) as origin:
        told = {"chromium": firefox, "origin": origin, "faults": faults, "status": 502}
        await story(**{name: told[name] for name in inspect.signature(story).parameters})
