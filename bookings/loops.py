"""One object for each event loop, because a future, and each wait for it, belongs to one loop.

The server has one loop for all requests. Flask by itself, as in its test client, makes a loop for
each request.
"""

import asyncio
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

Own = TypeVar("Own")


class PerLoop(Generic[Own]):
    """Makes the object of an event loop when that loop first asks for it."""

    def __init__(self, make: Callable[[], Own]) -> None:
        self._make = make
        self._made: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Own] = (
            weakref.WeakKeyDictionary()
        )

    def here(self) -> Own:
        """Return the object of the running loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._made:
            self._made[loop] = self._make()
        return self._made[loop]

    def of_all(self) -> list[Own]:
        """Return the objects of all loops."""
        return list(self._made.values())
