"""One try to deliver an event: what goes over the wire, and what becomes of each answer."""

import asyncio
import datetime as dt
import re
import ssl
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import WebhookVerificationError

from record import Event, Record, RecordUnavailable
from record import events as events_of_record
from shared import VERSION
from tests.connection.secured import Authority
from tests.processes import free_port
from tests.record.test_events import due, put_back
from tests.suppliers.over_http.raw_service import Answer, RawService, http, raw_service
from tests.webhooks.receiving import KEY, OLD_KEY, sender_to, tried, verified
from webhooks import Sender, sending

HOUR = dt.timedelta(hours=1)


async def one(record: Record) -> str:
    """Return the id of the event of a trip that was booked."""
    (event_id,) = await due(record)
    return event_id


async def event_in(record: Record) -> Event:
    (event,) = await record.events.after(0, 9)
    return event


async def test_an_event_is_sent_once_signed_and_without_a_name(
    record: Record, receiver: RawService, sender: Sender
) -> None:
    event_id = await one(record)
    assert await tried(sender, event_id) is None
    assert await tried(sender, event_id) is None, "a late second run sends nothing"
    (request,) = receiver.requests
    event = await event_in(record)
    assert (request.method, request.target) == ("POST", "/v1")
    assert verified(request) == {
        "id": event_id,
        "type": "trip.booked",
        "timestamp": event.at.isoformat().replace("+00:00", "Z"),
        "data": {"user_id": "trip-0", "status": "booked", "sequence": 1},
    }
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["User-Agent"] == f"trip-booking/{VERSION}"
    assert request.headers["webhook-id"] == event_id
    for word in (b"Ada", b"a-car", b"a-hotel", b"shop"):
        assert word not in request.body + repr(request.headers).encode()
    assert (event.delivery, await record.events.undelivered(9)) == ("delivered", [])


async def test_each_of_several_secrets_signs(record: Record, receiver: RawService) -> None:
    event_id = await one(record)
    async with sender_to(receiver.url, record, KEY, OLD_KEY) as sender:
        assert await tried(sender, event_id) is None
    (request,) = receiver.requests
    assert verified(request, KEY) == verified(request, OLD_KEY)
    with pytest.raises(WebhookVerificationError):
        verified(request, "whsec_" + "B" * 43 + "=")


async def test_each_try_has_the_id_of_the_event_and_its_own_time_by_the_clock_of_the_record(
    record: Record, receiver: RawService, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = await one(record)
    receiver.says(http(500), http(500), http(204))
    begun = now = dt.datetime.now(dt.UTC).replace(microsecond=999_999) + 5 * HOUR
    monkeypatch.setattr(events_of_record, "now_in", lambda _: now)
    for number in range(3):
        now = begun + number * HOUR
        await tried(sender, event_id)
    told = [
        (each.headers["webhook-id"], each.headers["webhook-timestamp"])
        for each in receiver.requests
    ]
    seconds = int(begun.timestamp())
    assert told == [(event_id, str(seconds + number * 3_600)) for number in range(3)]
    assert len({each.body for each in receiver.requests}) == 1
    assert len({each.headers["webhook-signature"] for each in receiver.requests}) == 3


LARGE = b"x" * 2_000_000
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"

TAKEN = [
    http(200),
    http(299),
    http(202, headers={"Retry-After": "60"}),
    http(200, LARGE),
    Answer(CUT, "reset"),
    Answer(CUT, "hold"),
]


@pytest.mark.parametrize("answer", TAKEN)
async def test_any_2xx_is_a_delivery_whatever_follows_it(
    record: Record, receiver: RawService, sender: Sender, answer: Answer
) -> None:
    receiver.says(answer)
    assert await tried(sender, await one(record)) is None
    assert (await event_in(record)).delivery == "delivered"
    assert len(receiver.requests) == 1


REDIRECT = {"Location": "/v1/elsewhere"}

NOT_TAKEN = [
    (http(500), "It answered 500"),
    (http(503, LARGE), "It answered 503"),
    (http(404, {"detail": "no such path"}), "It answered 404"),
    *((http(status, headers=REDIRECT), f"It answered {status}") for status in (301, 303, 307, 308)),
    (http(304), "It answered 304"),
    (Answer(b"\x16\x03\x01 garbage\r\n\r\n", "close"), "No answer: .+"),
    (Answer(b"HTTP/1.1 999999999999 ?\r\n\r\n", "close"), "No answer: .+"),
    (Answer(b"HTTP/1.1 200 OK\r\nX: " + LARGE, "close"), "No answer: .+"),
    (Answer(b"HTTP/1.1 200 OK\r\nX: " + b"X: y\r\n" * 100_000, "close"), "No answer: .+"),
    (Answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz"), "No answer: .+"),
    (Answer(b"", "close"), "No answer: ServerDisconnectedError"),
    (Answer(b"", "reset"), "No answer: .+"),
    (Answer(b"HTTP/1.1 200 O", "close"), "No answer: .+"),
    (Answer(b"", "hold"), "No answer within 0.3 s"),
    (Answer(b"HTTP/1.1 200", "hold"), "No answer within 0.3 s"),
    (Answer(b"HTTP/1.1 100 Continue\r\n\r\n", "hold"), "No answer within 0.3 s"),
    (Answer(b"HTTP/1.1 200 OK\r\nX:", "drip"), "No answer.*"),
]


@pytest.mark.parametrize(("answer", "words"), NOT_TAKEN, ids=range(len(NOT_TAKEN)))
async def test_anything_else_is_a_failure_that_is_told_in_a_word_and_tried_again(
    record: Record,
    receiver: RawService,
    sender: Sender,
    monkeypatch: pytest.MonkeyPatch,
    answer: Answer,
    words: str,
) -> None:
    if answer.then in ("hold", "drip"):
        monkeypatch.setattr(sending, "ANSWER_LIMIT", 0.3)
    receiver.says(answer)
    event_id = await one(record)
    failed = await tried(sender, event_id)
    assert failed and failed.next_retry_delay and not failed.non_retryable
    assert len(receiver.requests) == 1, "no redirect is followed, nothing is sent twice"
    event = await event_in(record)
    assert (event.delivery, event.failures, event.last_error) == ("begun", 1, failed.message)
    assert re.fullmatch(words, failed.message), failed.message
    receiver.says(http(204))
    assert await tried(sender, event_id) is None


async def test_a_receiver_may_take_its_time_but_no_longer(
    record: Record, receiver: RawService, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sending.ANSWER_LIMIT == 15
    slow, slower = await due(record, 2)
    receiver.answering.clear()
    trying = asyncio.create_task(tried(sender, slow))
    await receiver.asked()
    receiver.answering.set()
    assert await trying is None
    receiver.answering.clear()
    monkeypatch.setattr(sending, "ANSWER_LIMIT", 0.2)
    failed = await tried(sender, slower)
    assert failed and failed.message == "No answer within 0.2 s"


async def test_a_receiver_whose_certificate_nobody_knows_is_told_nothing(
    record: Record, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*Authority(tmp_path, "nobody").issue("shop"))
    event_id = await one(record)
    async with raw_service(context) as unknown:
        async with sender_to(unknown.url, record) as sender:
            failed = await tried(sender, event_id)
        assert failed and failed.message == "No answer: SSLCertVerificationError"
        assert unknown.requests == []


async def test_a_name_that_takes_long_to_look_up_is_looked_up_once(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threads for that are few, and suppliers are looked up in them, too."""
    asked = []

    async def hang(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hang)
    monkeypatch.setattr(sending, "ANSWER_LIMIT", 0.2)
    event_ids = await due(record, 20)
    async with sender_to("http://shop.invalid/trips", record) as sender:
        failures = await asyncio.gather(*(tried(sender, each) for each in event_ids))
    assert {each and each.message for each in failures} == {"No answer within 0.2 s"}
    assert asked == ["shop.invalid"]


async def test_nothing_of_an_answer_is_kept(record: Record, receiver: RawService) -> None:
    receiver.says(http(204, headers={"Set-Cookie": "a=b"}))
    event_ids = await due(record, 2)
    # aiohttp keeps no cookie of an address.
    async with sender_to(receiver.url.replace("127.0.0.1", "localhost"), record) as sender:
        for event_id in event_ids:
            assert await tried(sender, event_id) is None
    first, second = receiver.requests
    assert first.connection != second.connection
    assert "Cookie" not in second.headers


async def test_a_receiver_that_nobody_reaches_is_told_of_without_its_address(
    record: Record,
) -> None:
    event_id = await one(record)
    async with sender_to(f"http://127.0.0.1:{free_port()}/token", record) as sender:
        failed = await tried(sender, event_id)
    assert failed and failed.message == "No answer: ConnectionRefusedError"


async def test_what_is_sent_goes_through_the_proxy(record: Record, receiver: RawService) -> None:
    proxy = receiver.url.removesuffix("/v1").replace("//", "//me:password@")
    event_id = await one(record)
    async with sender_to("http://127.0.0.1:1/trips", record, proxy=proxy) as sender:
        assert await tried(sender, event_id) is None
    (request,) = receiver.requests
    assert request.target == "http://127.0.0.1:1/trips"
    assert request.headers["Proxy-Authorization"].startswith("Basic ")


async def test_the_wait_grows_with_the_failures_and_differs(
    record: Record, receiver: RawService, sender: Sender
) -> None:
    receiver.says(http(500))
    ids = await due(record, 4)
    waits = []
    for _ in range(6):
        failures = [await tried(sender, event_id) for event_id in ids]
        waits.append([each.next_retry_delay for each in failures if each and each.next_retry_delay])
    for usual, found in zip([5, 60, 600, 3_600, 3_600, 3_600], waits, strict=True):
        assert len(set(found)) == len(ids)
        assert all(0.8 * usual <= each.total_seconds() <= 1.2 * usual for each in found)


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ("7200", 7_200, 7_200),
        ("9999999", 86_400, 86_400),
        ("0", 4, 6),
        ("1", 4, 6),
        ("soon", 4, 6),
        ("in five hours", 4 * 3_600, 5 * 3_600),
    ],
)
async def test_a_receiver_is_not_asked_before_the_time_that_it_tells(
    record: Record, receiver: RawService, sender: Sender, asked: str, least: float, most: float
) -> None:
    date = format_datetime(dt.datetime.now(dt.UTC) + 5 * HOUR, usegmt=True)
    told = date if asked == "in five hours" else asked
    receiver.says(http(429, headers={"Retry-After": told}))
    failed = await tried(sender, await one(record))
    assert failed and failed.next_retry_delay
    assert least <= failed.next_retry_delay.total_seconds() <= most
    assert await record.events.bring_forward() == (asked in ("0", "soon"))


async def test_410_ends_it_for_this_event_alone(
    record: Record, receiver: RawService, sender: Sender
) -> None:
    gone, other = await due(record, 2)
    receiver.says(http(410), http(204))
    for _ in range(2):
        assert await tried(sender, gone) is None
    assert await tried(sender, other) is None
    assert [each.headers["webhook-id"] for each in receiver.requests] == [gone, other]
    deliveries = {each.event_id: each.delivery for each in await record.events.after(0, 9)}
    assert deliveries == {gone: "refused", other: "delivered"}


async def test_after_three_days_it_is_given_up(
    record: Record, receiver: RawService, sender: Sender
) -> None:
    event_id = await one(record)
    receiver.says(http(500))
    put_back(record, "due_at", 3 * 86_400 - 60)
    assert await tried(sender, event_id), "there is a try left"
    put_back(record, "due_at", 120)
    assert await tried(sender, event_id) is None
    assert await tried(sender, event_id) is None
    assert len(receiver.requests) == 2
    assert [each.delivery for each in await record.events.undelivered(9)] == ["given_up"]


@pytest.mark.parametrize("failures", [1, 3, 99])
async def test_a_delivery_is_noted_once_the_record_is_back(
    record: Record,
    receiver: RawService,
    sender: Sender,
    monkeypatch: pytest.MonkeyPatch,
    failures: int,
) -> None:
    event_id = await one(record)
    note, left = record.events.note_delivered, failures

    async def away(*args: Any) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise RecordUnavailable("The record is away")
        await note(*args)

    monkeypatch.setattr(record.events, "note_delivered", away)
    monkeypatch.setattr(sending, "NOTE_PAUSES", (0, 0, 0, None))
    if failures < 99:
        assert await tried(sender, event_id) is None
        assert len(receiver.requests) == 1
        assert (await event_in(record)).delivery == "delivered"
        return
    with pytest.raises(RecordUnavailable):
        await tried(sender, event_id)
    assert (await event_in(record)).delivery == "due", "it is sent again, rather than lost"


async def test_a_record_that_is_away_costs_no_failure(
    record: Record, receiver: RawService, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = await one(record)

    async def away(*_: Any, **__: Any) -> Any:
        raise RecordUnavailable("The record is away")

    for method, sent in (("to_deliver", 0), ("note_failure", 1)):
        receiver.says(http(500))
        with monkeypatch.context() as patch:
            patch.setattr(record.events, method, away)
            with pytest.raises(RecordUnavailable):
                await tried(sender, event_id)
        assert len(receiver.requests) == sent
    assert (await event_in(record)).failures == 0


async def test_a_receiver_that_is_back_gets_at_once_what_has_failed_once_a_minute(
    record: Record, receiver: RawService, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third, new = await due(record, 4)
    await record.events.note_begun([first, second, third, new])
    receiver.says(http(500))
    for event_id in (first, second, third):
        assert await tried(sender, event_id)
    receiver.says(http(204))
    assert await tried(sender, new) is None
    assert await record.events.left_over(3_600) == [], "that one has not failed before"
    assert await tried(sender, first) is None
    assert {each.event_id for each in await record.events.left_over(3_600)} == {second, third}
    receiver.says(http(500))
    assert await tried(sender, third)
    receiver.says(http(204))
    assert await tried(sender, second) is None
    left = {each.event_id: each.failures for each in await record.events.left_over(3_600)}
    assert left == {}, "a minute has not passed"
