"""How a process stops: in order when SIGINT or SIGTERM tells it to, and never held up for long.

The handlers are set when a process has something to stop. An order that comes before, while Python
still imports, ends the process as such an order ends any other program.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

logger = logging.getLogger(__name__)

ORDERS = (signal.SIGINT, signal.SIGTERM)

STOP_LIMIT = 3.0
"""Seconds that a stop may take beyond the grace for running work, whatever hangs."""


async def run_until_told(
    work: Coroutine[Any, Any, None],
    grace: float = 0.0,
    stopping: Callable[[], object] = lambda: None,
) -> None:
    """Run `work` to its end, or until the first order to stop, which cancels it.

    The order calls `stopping` first. Cancelled work has `grace` seconds and `STOP_LIMIT`; then it
    is left as it is. Further orders do not disturb the stop. Raises what `work` raises.
    """
    working = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def stop(order: signal.Signals) -> None:
        for name in ORDERS:
            loop.add_signal_handler(name, lambda: None)
        logger.info("Stopping on %s", order.name)
        stopping()
        told.set()
        working.cancel()

    for name in ORDERS:
        loop.add_signal_handler(name, stop, name)
    waiting = asyncio.create_task(told.wait())
    await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait({working}, timeout=grace + STOP_LIMIT)
    if not working.done():
        logger.warning("Leaving what is under way to other processes")
    elif not working.cancelled():
        working.result()
    logger.info("Stopped")


def stop_at_once_when_told() -> None:
    """End this process at the first order to stop, whatever it is doing.

    For jobs: the exit code, 128 and the signal's number, says that the job was cut off. A thread
    waits for the order, because a handler would run in the main thread only, which may just have
    begun to wait for something that never comes. The handlers tell the kernel that process 1 of a
    container wants the signals.
    """

    def end(number: int, _frame: object = None) -> None:
        os._exit(128 + number)

    for name in ORDERS:
        signal.signal(name, end)
    signal.pthread_sigmask(signal.SIG_BLOCK, ORDERS)
    threading.Thread(target=lambda: end(signal.sigwait(ORDERS)), daemon=True).start()


def leave(code: int = 0) -> NoReturn:
    """End this process now; everything that must be closed has been closed.

    The interpreter's own end is skipped: there, threads of Temporal's SDK may abort the process, or
    from Python 3.14 on hold it for ever (https://github.com/temporalio/sdk-python/issues/300), and
    Python waits for a call of the record that hangs.
    """
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)
