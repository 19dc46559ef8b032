"""A real browser, without a window, for the tests of pages: Chromium, where it is installed."""

import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright, expect

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

PATIENCE = 30_000
"""Milliseconds after which what a page is to show, or to let be done, counts as never there."""


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
