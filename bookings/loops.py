"""What each event loop has of its own: a future, and so who waits for one, belongs to one loop.

The server has one loop for all requests, but Flask's own way, and so its test client, is a loop for
each.
"""

import asyncio
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

Own = TypeVar("Own")


class PerLoop(Generic[Own]):
    """One of a thing for each event loop, made when it is first asked for there."""

    def __init__(self, make: Callable[[], Own]) -> None:
        self._make = make
        self._made: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Own] = (
            weakref.WeakKeyDictionary()
        )

    def here(self) -> Own:
        """Return the running loop's."""
        loop = asyncio.get_running_loop()
        if loop not in self._made:
            self._made[loop] = self._make()
        return self._made[loop]

    def of_all(self) -> list[Own]:
        """Return those of all loops."""
        return list(self._made.values())
