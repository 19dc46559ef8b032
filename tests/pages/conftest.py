"""A real browser, without a window, for the tests of pages: Chromium, where it is installed.

Only the fixtures import what drives it: tests of pages that need no browser run without that.
"""

import shutil
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from temporalio.client import Client

from tests.faults import FaultyRecord

if TYPE_CHECKING:
    from playwright.async_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome")

ARGUMENTS = [
    # As root, as in a container, it starts no other way.
    "--no-sandbox",
    "--disable-gpu",
    # What it would ask of elsewhere of its own accord.
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
]


@pytest.fixture(scope="session")
async def chromium() -> "AsyncIterator[Browser]":
    """A browser. Whoever uses it opens a context of its own in it, and closes that."""
    from playwright.async_api import async_playwright, expect

    from tests.pages.browser.browsing import PATIENCE

    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("Chromium is not installed")
    expect.set_options(timeout=PATIENCE)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture
async def origin(client: Client, faults: FaultyRecord) -> AsyncIterator[str]:
    """Where the pages are, whose suppliers have `faults`."""
    from tests.pages.browser.browsing import site

    async with site(client) as served:
        yield served
