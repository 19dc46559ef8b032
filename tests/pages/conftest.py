"""A real browser, without a window, for the tests of pages: Chromium, where it is installed."""

import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright, expect
from temporalio.client import Client

from tests.faults import FaultyRecord
from tests.pages.browsing import PATIENCE, site

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
async def chromium() -> AsyncIterator[Browser]:
    """A browser. Whoever uses it opens a context of its own in it, and closes that."""
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
    async with site(client) as served:
        yield served
