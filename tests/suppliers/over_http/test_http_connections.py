"""The HTTP client's connections: when there is none, how many there are, and when each ends."""

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from suppliers import HttpSupplier, http_line
from tests.connection.secured import Authority
from tests.faults import DEADLINE
from tests.suppliers.over_http.raw_service import (
    CONFIRMED,
    FAILED,
    HELD,
    TOKEN,
    UNREACHED,
    Answer,
    RawService,
    call,
    heard,
    hotels_at,
    http,
    raw_service,
)
from tests.suppliers.script import trip

OK = http(200, CONFIRMED)


async def test_a_supplier_that_is_away_is_unavailable(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        async with hotels_at(url, TOKEN) as supplier:
            assert await heard(supplier, "PUT", trip()) == UNREACHED
    [line] = [record for record in caplog.records if record.name == "suppliers.over_http"]
    assert line.levelname == "WARNING"
    assert "The hotel supplier cannot be reached: [Errno 111]" in line.getMessage()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 This is no HTTPS\r\n\r\n"])
async def test_a_service_that_speaks_no_tls_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(http_line, "CONNECT_LIMIT", 30.0 if said else 0.02)

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        if not said:
            await reader.read()  # The client hangs up.
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1") as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with hotels_at(url, TOKEN) as supplier:
            assert await heard(supplier, "PUT", trip()) == UNREACHED


async def test_a_certificate_that_nobody_vouches_for_gets_no_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*Authority(tmp_path, "nobody").issue("hotels"))
    async with raw_service(context) as service:
        service.says(OK)
        async with hotels_at(service.url, TOKEN) as supplier:
            assert await heard(supplier, "PUT", trip()) == UNREACHED
    assert not service.requests
    assert "certificate" in caplog.text


async def test_calls_one_after_the_other_share_a_connection(
    service: RawService, hotels: HttpSupplier
) -> None:
    service.says(http(409), http(503), OK)
    for method in ("PUT", "PUT", "PUT", "GET"):
        await call(hotels, method, trip())
    assert [sent.connection for sent in service.requests] == [1, 1, 1, 1]


async def test_many_calls_are_under_way_at_once(service: RawService, hotels: HttpSupplier) -> None:
    service.says(OK)
    service.answering.clear()
    calls = [asyncio.create_task(call(hotels, "PUT", trip(f"trip-{n}"))) for n in range(40)]
    await service.asked(40)
    service.answering.set()
    assert await asyncio.gather(*calls) == [HELD] * 40
    assert {sent.trip_id for sent in service.requests} == {f"trip-{n}" for n in range(40)}


async def test_there_are_no_more_connections_than_were_asked_for(service: RawService) -> None:
    service.says(OK)
    async with hotels_at(service.url, connections=2) as supplier:
        found = await asyncio.gather(*(call(supplier, "GET", trip()) for _ in range(20)))
    assert found == [HELD] * 20
    assert service.connections == 2


@pytest.mark.parametrize("said", [b"", OK.raw[:20], OK.raw[:-5]], ids=["nothing", "head", "body"])
async def test_a_call_that_is_cancelled_hangs_up(
    service: RawService, hotels: HttpSupplier, said: bytes
) -> None:
    service.says(Answer(said, "hold"))
    asking = asyncio.create_task(call(hotels, "PUT", trip()))
    await service.asked()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    async with asyncio.timeout(DEADLINE):
        await service.hung_up.wait()


@pytest.mark.parametrize("then", ["hold", "drip"])
async def test_an_answer_that_never_ends_is_not_waited_for(
    service: RawService, hotels: HttpSupplier, monkeypatch: pytest.MonkeyPatch, then: Any
) -> None:
    monkeypatch.setattr(http_line, "READ_LIMIT", 0.05)
    endless = OK.raw.replace(b"Content-Length: ", b"Content-Length: 9")
    service.says(Answer(endless, then))
    assert await heard(hotels, "PUT", trip()) == FAILED
    async with asyncio.timeout(DEADLINE):
        await service.hung_up.wait()


async def test_what_is_too_large_is_not_read_to_its_end(
    service: RawService, hotels: HttpSupplier, caplog: pytest.LogCaptureFixture
) -> None:
    endless = http(200, b" " * 100_000).raw.replace(b"Content-Length: ", b"Content-Length: 9")
    service.says(Answer(endless, "hold"))
    assert await heard(hotels, "GET", trip()) == FAILED
    assert "an answer of more than 65536 bytes (status 200)" in caplog.text
    async with asyncio.timeout(DEADLINE):
        await service.hung_up.wait()
