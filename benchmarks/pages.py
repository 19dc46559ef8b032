"""Simulated pages of trips: each does what the page of a trip does in a browser.

It is opened, and asks at the interval and by the URL that stand in it whether the trip has changed,
over a connection of its own; when it has, the answer takes its place. What comes back is counted.
"""

import asyncio
import html
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import aiohttp

ASKS = re.compile(r'hx-get="([^"]+)" hx-trigger="every (\d+)ms"')
"""What htmx reads from a page: what is asked for, and how often."""

OPEN_AT_ONCE = 20
"""Pages that are opened at the same time."""

PATIENCE = 60.0
"""Seconds after which an answer counts as never come."""


@dataclass
class Watch:
    """What pages that are open were answered."""

    latencies: list[float] = field(default_factory=list)
    """Of the answers, in seconds."""
    unchanged: int = 0
    changed: int = 0
    refused: int = 0
    """Questions that were to be asked again a moment later."""
    errors: Counter[str] = field(default_factory=Counter)

    def quantile_ms(self, share: float) -> float:
        """Return the ms in which `share` of the answers came."""
        ordered = sorted(self.latencies) or [float("nan")]
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def background_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread of its own. At the end cancel what still runs, and stop it."""
    runner = asyncio.Runner()
    loop = runner.get_loop()
    stopped = asyncio.Event()

    def run() -> None:
        with runner:
            runner.run(stopped.wait())

    thread = threading.Thread(target=run, name="event-loop", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()


@contextmanager
def open_pages(url: str, user_ids: Sequence[str]) -> Iterator[Watch]:
    """Have a page open of each trip, at the API at `url`, while the block runs.

    Raises `RuntimeError` when one does not open.
    """
    watch = Watch()
    with background_loop() as loop:
        opened = asyncio.run_coroutine_threadsafe(_opened(url, user_ids), loop).result()
        watching = asyncio.run_coroutine_threadsafe(_go_on(opened, watch), loop)
        yield watch
        if watching.done():  # By a mistake in here, if it has failed.
            watching.result()


async def _opened(url: str, user_ids: Sequence[str]) -> list["_Page"]:
    places = asyncio.Semaphore(OPEN_AT_ONCE)
    pages = [_Page(url) for _ in user_ids]

    async def opened(page: _Page, user_id: str) -> None:
        async with places:
            await page.open(user_id)

    await asyncio.gather(*map(opened, pages, user_ids))
    return pages


async def _go_on(pages: Sequence["_Page"], watch: Watch) -> None:
    # Nobody opens pages in step; the same order in each run.
    phases = random.Random(0)  # noqa: S311 - nothing is secret.
    await asyncio.gather(*(page.go_on(watch, phases.random()) for page in pages))


class _Page:
    """One open page."""

    def __init__(self, url: str) -> None:
        self._session = aiohttp.ClientSession(
            url,
            connector=aiohttp.TCPConnector(limit=1),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=PATIENCE),
        )
        self._path = ""
        self._interval = 0.0

    async def open(self, user_id: str) -> None:
        """Load the page."""
        async with self._session.get(f"/trips/{user_id}") as answer:
            text = await answer.text()
        if answer.status != 200 or not self._shows(text):
            raise RuntimeError(f"The page of {user_id} was answered {answer.status}: {text[:500]}")

    async def go_on(self, watch: Watch, phase: float) -> None:
        """Ask again and again; `phase` is the share of the interval that has passed already."""
        async with self._session:
            shown_at = time.monotonic() - phase * self._interval
            while True:
                # What would be asked while an answer is still to come is left out.
                await asyncio.sleep(self._interval - (time.monotonic() - shown_at) % self._interval)
                text = await self._ask(watch)
                if not text:
                    continue
                if not self._shows(text):
                    watch.errors["the trip is over"] += 1
                    return
                shown_at = time.monotonic()

    async def _ask(self, watch: Watch) -> str:
        """Return what takes the page's place, nothing if it stays."""
        began = time.monotonic()
        try:
            async with self._session.get(self._path, headers={"HX-Request": "true"}) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            watch.errors[type(error).__name__] += 1
            return ""
        if answer.status == 503:
            watch.refused += 1
            return ""
        if answer.status not in (200, 204):
            watch.errors[f"HTTP {answer.status}"] += 1
            return ""
        watch.latencies.append(time.monotonic() - began)
        watch.changed += answer.status == 200
        watch.unchanged += answer.status == 204
        return text

    def _shows(self, text: str) -> bool:
        """Take up what a page says, and tell whether it asks for anything."""
        asks = ASKS.search(text)
        if asks is None:
            return False
        self._path = html.unescape(asks[1])
        self._interval = int(asks[2]) / 1000
        return True
