"""The worker's port: alive, ready, and what it answers while the worker starts and stops."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from telemetry import worker as telemetry_of_worker
from telemetry.worker import WorkerHealth, worker_port

JSON, PROBLEM = "application/json", "application/problem+json"


class Port:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ask(self, path: str, **headers: str) -> tuple[int, str, str]:
        """Return status, media type and text of an answer."""
        async with asyncio.timeout(20), self._session.get(path, headers=headers) as answer:
            return answer.status, answer.content_type, await answer.text()

    async def obstacle(self) -> str | None:
        status, media_type, text = await self.ask("/readyz")
        told = json.loads(text)
        assert (media_type, told["status"]) == ((JSON, "ok") if status == 200 else (PROBLEM, 503))
        return None if status == 200 else told["detail"]


@asynccontextmanager
async def serving(port: int, state: WorkerHealth) -> AsyncIterator[Port]:
    async with (
        worker_port("127.0.0.1", port, {"worker"}, state, lambda: b"one_metric 1.0\n"),
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        yield Port(session)


class Worker:
    """What a worker finds when it asks whether it can work."""

    def __init__(self, obstacle: str | None = None) -> None:
        self.obstacle = obstacle
        self.questions = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def ask(self) -> str | None:
        self.questions += 1
        await self.answers.wait()
        return self.obstacle


async def test_it_is_ready_once_it_works_and_not_any_more_once_it_stops(
    unused_tcp_port: int,
) -> None:
    state, worker = WorkerHealth(), Worker("The record is unavailable")
    async with serving(unused_tcp_port, state) as port:
        assert await port.obstacle() == "The worker is starting"
        state.started(worker.ask)
        assert await port.obstacle() == "The record is unavailable"
        worker.obstacle = None
        assert await port.obstacle() is None
        state.stopping()
        assert await port.obstacle() == "The worker is stopping"
        state.started(worker.ask)
        assert await port.obstacle() == "The worker is stopping"
        assert await port.ask("/livez") == (200, JSON, '{"status": "ok"}')
        assert await port.ask("/metrics") == (200, "text/plain", "one_metric 1.0\n")


async def test_a_question_that_was_asked_before_the_stop_does_not_call_it_ready(
    unused_tcp_port: int,
) -> None:
    state, worker = WorkerHealth(), Worker()
    worker.answers.clear()
    state.started(worker.ask)
    async with serving(unused_tcp_port, state) as port:
        asking = asyncio.create_task(port.obstacle())
        async with asyncio.timeout(20):
            while not worker.questions:
                await asyncio.sleep(0.01)
        state.stopping()
        worker.answers.set()
        assert await asking == "The worker is stopping"


async def test_what_hangs_is_asked_once_and_keeps_nobody_waiting(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry_of_worker, "ANSWER_LIMIT", 0.2)
    state, worker = WorkerHealth(), Worker()
    worker.answers.clear()
    state.started(worker.ask)
    async with serving(unused_tcp_port, state) as port:
        obstacles = await asyncio.gather(*(port.obstacle() for _ in range(5)))
        obstacles.append(await port.obstacle())
        assert set(obstacles) == {"Temporal or the record does not answer"}
        assert worker.questions == 1
        assert (await port.ask("/livez"))[0] == 200
        worker.answers.set()
        assert await port.obstacle() is None


async def test_a_port_that_is_taken_ends_the_worker(unused_tcp_port: int) -> None:
    async with serving(unused_tcp_port, WorkerHealth()):
        with pytest.raises(SystemExit, match="METRICS_PORT"):
            async with serving(unused_tcp_port, WorkerHealth()):
                pass


async def test_it_answers_only_to_names_that_it_knows(unused_tcp_port: int) -> None:
    """A page whose name was made to lead here reads nothing."""
    async with serving(unused_tcp_port, WorkerHealth()) as port:
        for host in ("localhost", "127.0.0.1:9464", "10.0.0.7:9464", "[::1]", "Worker:9464"):
            assert (await port.ask("/metrics", Host=host))[0] == 200, host
        for host in ("evil.example:9464", "worker.evil.example", "10.0.0.7.evil.example"):
            for path in ("/metrics", "/livez", "/readyz", "/nowhere"):
                status, media_type, text = await port.ask(path, Host=host)
                assert (status, media_type) == (421, PROBLEM), host
                assert "ALLOWED_HOSTS" in text and host in text
