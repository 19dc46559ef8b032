"""How a process stops: told by a signal, in order, and never held up for long."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lifecycle import run_until_told, stopping
from tests.processes import ROOT

ORDERS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    before = {order: signal.getsignal(order) for order in ORDERS}
    yield
    for order, handler in before.items():
        signal.signal(order, handler)


@pytest.mark.parametrize("order", ORDERS)
async def test_an_order_cancels_the_work_which_has_its_grace(order: signal.Signals) -> None:
    done: list[str] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), order)
            await asyncio.Event().wait()
        finally:
            # Further orders, of an impatient user, change nothing.
            for again in ORDERS:
                os.kill(os.getpid(), again)
            await asyncio.sleep(0.05)
            done.append("in order")

    await run_until_told(work(), 20.0, lambda: done.append("stopping"))
    assert done == ["stopping", "in order"]


async def test_work_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "STOP_LIMIT", 0.05)
    may_end = asyncio.Event()

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()
        finally:
            await may_end.wait()

    await run_until_told(work())
    assert not may_end.is_set()
    may_end.set()


async def test_work_that_fails_fails_the_process() -> None:
    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_until_told(work())


@pytest.mark.parametrize("order", ORDERS)
def test_a_job_that_is_cut_off_says_so_by_its_exit_code(order: signal.Signals) -> None:
    script = (
        "import os, time, lifecycle; lifecycle.stop_at_once_when_told();"
        f"os.kill(os.getpid(), {int(order)}); time.sleep(60)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == 128 + order


def test_leaving_loses_no_line_and_waits_for_no_thread() -> None:
    script = (
        "import lifecycle, sys, threading, time;"
        "threading.Thread(target=time.sleep, args=[3600]).start();"
        "sys.stdout.write('said'); lifecycle.leave(3)"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (3, "said")
