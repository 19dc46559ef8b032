"""The product's HTTP server in a thread of the tests' process."""

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask
from waitress import wasyncore
from waitress.server import BaseWSGIServer

from api import server
from tests.processes import free_port


@contextmanager
def serving(app: Flask, host: str = "127.0.0.1", threads: int = 2) -> Iterator[int]:
    """Serve an app from a thread and yield the port."""
    port = free_port()
    running = server.listen(app, host, port, threads)
    sockets = vars(running).get("_map") or vars(running)["map"]
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        yield port
    finally:
        listener = next(each for each in sockets.values() if isinstance(each, BaseWSGIServer))
        wake = vars(listener)["trigger"].pull_trigger
        with contextlib.suppress(OSError):  # It has closed what it is woken by already.
            wake(lambda: wasyncore.close_all(sockets))
        thread.join(10)
        listener.task_dispatcher.shutdown()
        assert not thread.is_alive()
