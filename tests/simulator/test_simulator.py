"""The simulated suppliers: that they keep the contract, and break it as told and no further."""

import asyncio
import datetime as dt
import json
import logging
import random
import re
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, get_args

import pytest

from shared import KINDS, Price
from simulator import __main__ as command
from simulator import service
from simulator.answers import SimulatedAnswer, SimulatedSuppliers
from simulator.behaviour import BEFORE, PLENTY, Item, Mode, SimulatedFaults, Way
from simulator.stock import TAKES_A_PLACE, Row, Stock
from tests.faults import DEADLINE
from tests.processes import ROOT, free_port
from tests.processes import simulator as simulator_process
from tests.simulator.simulated import CutOff, Simulator, simulated, slow_call

DOCS = ROOT / "docs" / "suppliers.md"

MODE = {"idempotent": "idempotency", "tombstones": "tombstones"}
"""The promises of the contract that a mode keeps or not."""


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    async with simulated(tmp_path / "suppliers.db") as simulator:
        yield simulator


class TestContract:
    @pytest.mark.parametrize("kind", KINDS)
    async def test_a_trip_is_booked_once_found_and_cancelled_for_good(
        self, simulator: Simulator, kind: str
    ) -> None:
        first = await simulator.put("t", "valid-id", kind)
        assert first.status == 201
        assert first.body.keys() == {"state", "item", "reference"}
        assert (first.body["state"], first.body["item"]) == ("confirmed", "valid-id")

        again, found = await simulator.put("t", "valid-id", kind), await simulator.get("t", kind)
        assert (again.status, found.status) == (200, 200)
        assert first.body == again.body == found.body

        for _ in range(2):
            gone = await simulator.delete("t", kind)
            assert (gone.status, gone.body) == (200, {"state": "cancelled"})
        assert (await simulator.put("t", "valid-id", kind)).status == 409
        assert (await simulator.get("t", kind)).body["state"] == "cancelled"

    async def test_a_trip_may_have_any_name(self, simulator: Simulator) -> None:
        names = ["a/b", "%252f", "a b\n{c}", "?#;&+", "日本👪", "a\x00b"]
        for name in names:
            assert (await simulator.put(name, name)).body["item"] == name
            assert (await simulator.get(name)).status == 200
            assert (await simulator.delete(name)).status == 200
        rows = (await simulator.call("GET", "/reservations")).body
        assert [row["trip_id"] for row in rows] == names

    async def test_what_is_malformed_nowhere_or_too_large_is_a_problem_and_does_nothing(
        self, simulator: Simulator
    ) -> None:
        odd = [b"", b"[" * 9_000, b"[]", b'{"item": ""}', b'{"item": 1}', b'{"item": "\xff"}']
        for method, path, data, status in (
            *(("PUT", "/cars/reservations/t", content, 400) for content in odd),
            ("PUT", "/cars/reservations/t", b" " * 70_000, 413),
            ("GET", "/ships/reservations/t", None, 404),
            ("POST", "/cars/reservations/t", None, 405),
        ):
            refused = await simulator.call(method, path, data=data)
            assert (refused.status, refused.body["status"]) == (status, status)
        assert not await simulator.states()

    async def test_others_than_the_holder_of_the_token_are_turned_away(
        self, tmp_path: Path
    ) -> None:
        wrong: list[dict[str, str]] = [{}, {"Authorization": "Bearer x"}]
        async with simulated(tmp_path / "suppliers.db", token="secret") as simulator:
            for headers in wrong:
                for path in ("/cars/reservations/t", "/reservations"):
                    refused = await simulator.call("GET", path, headers=headers)
                    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
            allowed = {"Authorization": "Bearer secret"}
            assert (await simulator.call("GET", "/reservations", headers=allowed)).status == 200
            assert (await simulator.call("GET", "/livez")).status == 200

    async def test_faults_are_ruled_over_http(self, simulator: Simulator) -> None:
        faults = {"share": 1, "ways": ["busy"]}
        assert (await simulator.call("PUT", "/faults", faults)).body == faults
        assert (await simulator.delete("t")).status == 429
        for bad in ({"share": 2}, {"share": 1, "ways": []}, {"share": 0, "ways": ["odd"]}):
            assert (await simulator.call("PUT", "/faults", bad)).status == 400
        assert (await simulator.delete("t")).status == 429, "a bad rule changes nothing"
        assert (await simulator.call("DELETE", "/faults")).body["share"] == 0
        assert (await simulator.delete("t")).status == 200


# A story is a title, calls with their outcomes, and the states of all reservations in the end.
# `put` books an item for a trip, and `put2` for another one; `late` fails, and books it later. An
# outcome is a status, perhaps with the seconds to wait; a state; or that the answer is `cut`.
STORIES = """
what was never booked cannot be booked after its cancellation
get 404, delete 200, get cancelled, put a 409, put2 a 201
cancelled confirmed

a trip has one item of a kind
put a 201, put b 409, put a 200, delete 200, delete 200
cancelled

without idempotency and without tombstones each put is a reservation and each delete takes one
put a-2-rooms 201, put a-2-rooms 201, put a-2-rooms 422, delete 200, get confirmed,
delete 200, delete 200, get cancelled
cancelled cancelled

without tombstones a cancellation is forgotten
delete 404, put a 201, put a 200, delete 200, put a 201, delete 200
cancelled cancelled

a flaky item fails so often for each trip
put flaky 503, put flaky 503, put flaky 201, put flaky 200, put2 flaky-1 503, put2 flaky-1 201
confirmed confirmed

a busy item says when to come again
put busy 429/2, put busy 201
confirmed

a lost answer is one of a booking
put lost-answer cut, put lost-answer 200
confirmed

without idempotency a lost answer is booked again
put lost-answer cut, put lost-answer 201
confirmed confirmed

a pending item is confirmed later
put pending 202/3, put pending 202/3, get pending, +3, get confirmed, put pending 200
confirmed

a pending item that is cancelled stays so
put pending-1-rooms 202, delete 200, +3, get cancelled, put2 pending-1-rooms 202
cancelled pending

a pending item may turn out to be sold out, and its place is free then
put pending-sold-out-1-rooms 202, put2 pending-sold-out-1-rooms 422, +3, get cancelled,
put pending-sold-out-1-rooms 409, put2 pending-sold-out-1-rooms 202
cancelled pending

a fare without refund is kept
put non-refundable 201, delete 409, get confirmed
confirmed

a slow cancellation is held until it is done
put slow-to-cancel-1-rooms 201, delete 202/3, delete cancelling, get confirmed,
put slow-to-cancel-1-rooms 409, put2 slow-to-cancel-1-rooms 422, +3, get cancelled, delete 200,
put2 slow-to-cancel-1-rooms 201
cancelled confirmed

a late booking shows up late and once
put late 503, get 404, put late 503, +3.9, get 404, +0.1, get confirmed, put late 200
confirmed

without idempotency each late booking shows up
put late 503, put late 503, +4, get confirmed, put late 201
confirmed confirmed confirmed

a cancelled trip is not booked late
put late 503, delete 200, +4, get cancelled
cancelled

without tombstones a cancelled trip is booked late
put late 503, delete 404, +4, get confirmed
confirmed

a late booking waits out a restart
put late 503, restart, +4, get confirmed
confirmed

a late booking takes no place that is gone
put late-1-rooms 503, put2 late-1-rooms 503, +4, get confirmed, get2 404
confirmed

a late booking of an undecided item is undecided
put late-pending 503, +4, get pending, +3, get confirmed
confirmed

what was booked meanwhile is not booked late as well
late a 503, put a 201, +4
confirmed
"""


def ask(suppliers: SimulatedSuppliers, call: str, trip_id: str, item: str = "") -> SimulatedAnswer:
    if call in ("put", "late"):
        return suppliers.book("hotel", trip_id, item, late=call == "late")
    return (suppliers.cancel if call == "delete" else suppliers.find)("hotel", trip_id)


def ask_as_sent(
    suppliers: SimulatedSuppliers, method: str, trip_id: str, order: dict[str, str]
) -> SimulatedAnswer:
    """Ask by a method of the contract, `""` for GET, and the body of a PUT."""
    if method == "POST":
        return suppliers.confirm("hotel", trip_id)
    if method != "PUT":
        return ask(suppliers, method.lower(), trip_id)
    until = order.get("hold_until")
    at = dt.datetime.fromisoformat(until).timestamp() if until else None
    return suppliers.book("hotel", trip_id, order["item"], hold_until=at)


@pytest.mark.parametrize(
    "story", STORIES.strip().split("\n\n"), ids=lambda story: story.partition("\n")[0]
)
def test_an_item_does_what_its_name_says(tmp_path: Path, story: str) -> None:
    title, *lines, states = story.splitlines()
    keeps = {name: f"without {words}" not in title for name, words in MODE.items()}
    now = 0.0

    def started() -> SimulatedSuppliers:
        stock = Stock(tmp_path / "suppliers.db")
        return SimulatedSuppliers(stock, Mode(**keeps), clock=lambda: now)

    suppliers = started()
    for step in " ".join(lines).split(", "):
        if step.startswith("+"):
            now += float(step)
            continue
        if step == "restart":
            suppliers.stock.close()
            suppliers = started()
            continue
        call, *item, outcome = step.split()
        trip_id = "another" if call.endswith("2") else "trip"
        answer = ask(suppliers, call.removesuffix("2"), trip_id, *item)
        status = f"{int(answer.status)}"
        said = {status, f"{status}/{answer.wait}", answer.body.get("state")}
        assert outcome in (said | {"cut"} if answer.cut_off else said), step
    assert [row.state for row in suppliers.rows()] == states.split()
    suppliers.stock.close()


@pytest.mark.parametrize(
    ("name", "words", "places", "failures"),
    [
        ("valid-hotel-id", set(), PLENTY, 0),
        ("Sold-Out", {"sold-out"}, PLENTY, 0),
        ("my_unknown_one", {"unknown"}, PLENTY, 0),
        ("pending-sold-out", {"pending-sold-out"}, PLENTY, 0),
        ("slow-non-refundable-7", {"slow", "non-refundable"}, PLENTY, 0),
        ("10-seats-a", set(), PLENTY, 0),
        ("flaky-5", {"flaky"}, PLENTY, 5),
        ("flaky-10-seats", {"flaky"}, 10, 2),
        ("flaky-5-10-seats", {"flaky"}, 10, 5),
    ],
)
def test_a_name_says_what_an_item_does(
    name: str, words: set[str], places: int, failures: int
) -> None:
    assert Item.named(name) == Item(name, frozenset(words), places, failures, None)


def test_a_name_says_what_an_item_costs_before_and_after_it_is_confirmed() -> None:
    item = Item.named("price-rises-suite-99.90-eur")
    assert (item.price, item.final_price) == (Price("99.90", "EUR"), Price("109.89", "EUR"))
    assert Item.named("suite-120-usd-3-rooms").final_price == Price("120", "USD")
    assert Item.named("suite-120-yen").price is None


@pytest.mark.parametrize(
    ("item", "status", "detail"),
    [
        ("unknown-7", 404, "There is no flight unknown-7"),
        ("invalid-id", 404, "There is no flight invalid-id"),
        ("sold-out", 422, "The flight sold-out is sold out"),
        ("valid-0-seats", 422, "The flight valid-0-seats is sold out"),
    ],
)
async def test_what_cannot_be_had_is_refused_in_words_for_travellers(
    simulator: Simulator, item: str, status: int, detail: str
) -> None:
    refused = await simulator.put("t", item, "flight")
    assert (refused.status, refused.body["detail"]) == (status, detail)
    assert refused.headers["Content-Type"].startswith("application/problem+json")
    assert not await simulator.states()


class TestPlaces:
    async def test_of_ten_seats_ten_are_sold_and_those_given_back_are_sold_again(
        self, simulator: Simulator
    ) -> None:
        async def take(number: int) -> int:
            return (await simulator.put(f"t{number}", "valid-10-seats", "flight")).status

        statuses = await asyncio.gather(*map(take, range(50)))
        assert Counter(statuses) == {201: 10, 422: 40}
        await simulator.delete(f"t{statuses.index(201)}", "flight")
        assert [await take(201), await take(202)] == [201, 422]

    @pytest.mark.parametrize("idempotent", [True, False])
    @pytest.mark.parametrize("tombstones", [True, False])
    def test_whatever_comes_places_are_counted_and_promises_kept(
        self, tmp_path: Path, idempotent: bool, tombstones: bool
    ) -> None:
        chance, now = random.Random(7), 0.0
        stock = Stock(tmp_path / "suppliers.db")
        suppliers = SimulatedSuppliers(
            stock, Mode(idempotent=idempotent, tombstones=tombstones), clock=lambda: now
        )
        items = [f"{word}-3-seats" for word in ("a", "late", "pending-sold-out", "slow-to-cancel")]
        cancelled: set[str] = set()
        for _ in range(150):
            now += chance.choice((0, 0, 1, 5))
            trip_id = f"t{chance.randrange(12)}"
            match chance.randrange(3):
                case 0:
                    suppliers.cancel("car", trip_id)
                    cancelled.add(trip_id)
                case late:
                    item = items[int(trip_id[1:]) % len(items)]
                    suppliers.book("car", trip_id, item, late=late == 2)
            held = [row for row in suppliers.rows() if row.state in TAKES_A_PLACE]
            for name in items:
                assert sum(row.item == name for row in held) <= 3
            firm = Counter(row.trip_id for row in held if row.state != "cancelling")
            if idempotent:
                assert set(firm.values()) <= {1}
                if tombstones:
                    assert not firm.keys() & cancelled
        stock.close()

    def test_no_two_references_are_the_same(self) -> None:
        references = [
            Row(number, "car", "t", "x", "confirmed", None).reference for number in range(2_000)
        ]
        assert len(set(references)) == len(references)
        assert all(re.fullmatch(r"[A-Z0-9]{6}", reference or "") for reference in references)


class Pause:
    """Stands for sleeping: whoever sleeps waits until the test opens it."""

    def __init__(self) -> None:
        self.waiting = 0
        self.over = asyncio.Event()

    async def __call__(self, _seconds: float) -> None:
        self.waiting += 1
        await self.over.wait()

    async def until_waiting(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE):
            while self.waiting < count:
                await asyncio.sleep(0.01)


@pytest.fixture
def pause(monkeypatch: pytest.MonkeyPatch) -> Pause:
    pause = Pause()
    monkeypatch.setattr(service, "_sleep", pause)
    return pause


class TestSlowness:
    async def test_many_slow_calls_hold_nobody_up(self, simulator: Simulator, pause: Pause) -> None:
        calls = [asyncio.create_task(simulator.put(f"t{n}", "slow")) for n in range(30)]
        await pause.until_waiting(30)
        assert (await simulator.put("t", "valid-id")).status == 201
        assert await simulator.states() == {"confirmed": 1}, "slow ones take effect at the end"
        pause.over.set()
        assert {answer.status for answer in await asyncio.gather(*calls)} == {201}
        assert await simulator.states() == {"confirmed": 31}

    async def test_what_is_slow_is_cancelled_slowly(
        self, simulator: Simulator, pause: Pause
    ) -> None:
        call = asyncio.create_task(simulator.put("t", "slow"))
        await pause.until_waiting(1)
        pause.over.set()
        await call
        assert (await simulator.delete("t")).status == 200
        assert pause.waiting == 2

    async def test_a_call_whose_caller_has_gone_takes_effect(
        self, simulator: Simulator, pause: Pause
    ) -> None:
        call = asyncio.create_task(simulator.put("t", "slow"))
        await pause.until_waiting(1)
        call.cancel()
        await asyncio.wait([call])
        pause.over.set()
        async with asyncio.timeout(DEADLINE):
            while not await simulator.states():
                await asyncio.sleep(0.01)


BROKEN: dict[Way, tuple[int, str]] = {
    "error before": (500, "Something went wrong"),
    "error after": (500, "Something went wrong"),
    "busy": (429, "busy"),
    "garbled": (200, '{"state": "confirmed"'),
    "html": (200, "<p>Something went wrong.</p>\n" * 100_000),
    "redirect": (307, ""),
    "maybe": (200, '{"state": "maybe"}'),
    "wrong item": (200, "another one"),
}
"""The status of a broken answer, and a part of its text. In the other ways the answer is true, or
there is none."""


class TestFaults:
    @pytest.mark.parametrize("way", get_args(Way))
    async def test_each_way_breaks_the_answer_and_does_what_it_says(
        self, simulator: Simulator, pause: Pause, way: Way, caplog: pytest.LogCaptureFixture
    ) -> None:
        pause.over.set()
        await simulator.put("held", "valid-id")
        await simulator.call("PUT", "/faults", {"share": 1, "ways": [way]})
        with caplog.at_level(logging.WARNING):
            for call in (
                simulator.put("t", "valid-id"),
                simulator.get("held"),
                simulator.delete("held"),
            ):
                await self._is_broken(way, call)
        assert not caplog.records
        assert pause.waiting == (3 if way == "slow" else 0)
        done = way not in BEFORE
        assert await simulator.states("held") == {"cancelled" if done else "confirmed": 1}
        expected = "late" if way == "late" else "confirmed"
        assert await simulator.states("t") == ({expected: 1} if done else {})
        simulator.now += 4
        assert await simulator.states("t") == ({"confirmed": 1} if done else {})

    async def _is_broken(self, way: Way, call: Any) -> None:
        if way.startswith("cut"):
            with pytest.raises(CutOff):
                await call
            return
        said = await call
        status, text = BROKEN.get(way, (said.status, ""))
        assert said.status == status
        assert text in said.text
        if way == "garbled":
            with pytest.raises(ValueError, match=r"^Unterminated"):
                json.loads(said.text)

    async def test_what_rules_the_simulator_is_never_broken(self, simulator: Simulator) -> None:
        await simulator.call("PUT", "/faults", {"share": 1})
        for path in ("/reservations", "/livez") * 10:
            assert (await simulator.call("GET", path)).status == 200
        assert (await simulator.call("DELETE", "/faults")).status == 200

    def test_so_many_calls_are_broken_and_in_every_way(self) -> None:
        faults, chance = SimulatedFaults(share=0.3), random.Random(7)
        chosen = Counter(faults.choose("PUT", 4.0, chance) for _ in range(10_000))
        assert 0.28 < 1 - chosen[None] / 10_000 < 0.32
        assert chosen.keys() == {None, *get_args(Way)}

    @pytest.mark.parametrize(("method", "late_seconds"), [("GET", 4), ("DELETE", 4), ("PUT", 0)])
    def test_only_a_put_can_be_late_and_only_where_anything_is(
        self, method: str, late_seconds: float
    ) -> None:
        chance = random.Random(7)
        assert SimulatedFaults(share=1, ways=["late"]).choose(method, late_seconds, chance) is None
        both = SimulatedFaults(share=1, ways=["late", "busy"])
        assert {both.choose(method, late_seconds, chance) for _ in range(50)} == {"busy"}


class TestDocs:
    def test_the_words_and_ways_are_those_of_the_code(self) -> None:
        words, ways = _first_column("word"), _first_column("way")
        assert ways == list(get_args(Way))
        words = [word for word in words if word not in ("N-seats", "120-eur")]
        assert [Item.named(word).words for word in words] == [{word} for word in words]

    @pytest.mark.parametrize(("transcript", "later"), [(0, 1), (1, 2)])
    def test_the_docs_have_what_it_answers(
        self, tmp_path: Path, transcript: int, later: int
    ) -> None:
        """Each call of a transcript. Before the last ones, so many, an hour goes by."""
        console = re.findall(r"^\$ HOTELS=(.*?)^```", DOCS.read_text(), re.M | re.S)[transcript]
        # Python 3.13 calls it Unprocessable Content, as RFC 9110 does.
        console = console.replace("Unprocessable Entity", HTTPStatus(422).phrase)
        calls = re.findall(r"^\$ curl (.*)\n(.*) (\d{3})$", console, re.MULTILINE)
        now = dt.datetime(2026, 11, 30, 14, 55, tzinfo=dt.UTC).timestamp()
        stock = Stock(tmp_path / "suppliers.db")
        suppliers = SimulatedSuppliers(stock, Mode(), clock=lambda: now)
        for left, (call, body, status) in zip(range(len(calls), 0, -1), calls, strict=True):
            match = re.fullmatch(
                r"(?:-X (\w+) )?\$HOTELS/([^/\s]+)(/confirm)?(?: -d '(.*)')?", call
            )
            assert match, call
            method, trip_id, confirm, sent = match.groups("")
            assert (method == "POST") == bool(confirm), call
            now += 3_600 * (left == later)
            answer = ask_as_sent(suppliers, method, trip_id, json.loads(sent or "{}"))
            assert (json.dumps(answer.body), str(int(answer.status))) == (body, status), call
        stock.close()
        assert len(calls) == console.count("$ curl")

    def test_every_option_is_told_of(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["simulator", "--help"])
        with pytest.raises(SystemExit):
            command.main()
        options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
        told = DOCS.read_text().partition("| option |")[2].partition("\n\n")[0]
        assert options == set(re.findall(r"--[a-z-]+", told)) - {"---"}


class TestProcess:
    @pytest.mark.parametrize(
        "arguments",
        [
            "--port 65536",
            "--faults nan",
            "--tokens x",
        ],
    )
    def test_a_bad_argument_ends_it(
        self, arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "argv", ["simulator", *arguments.split()])
        with pytest.raises(SystemExit) as end:
            command.main()
        assert end.value.code == 2
        assert arguments.split()[0] in capsys.readouterr().err

    def test_a_port_in_use_or_a_bad_file_ends_it_with_one_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        no_database = tmp_path / "text"
        no_database.write_text("This is no database, and longer than a hundred characters. " * 9)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            for file in (tmp_path / "suppliers.db", no_database, tmp_path / "nowhere" / "x.db"):
                options = ["--port", port, "--database", str(file)]
                monkeypatch.setattr(sys, "argv", ["simulator", *options])
                with pytest.raises(SystemExit) as end:
                    command.main()
                assert isinstance(end.value.code, str)
                assert "\n" not in end.value.code
                assert (port if file.name == "suppliers.db" else file.name) in end.value.code

    def test_killed_it_comes_back_with_all_it_held_and_told_to_stop_it_waits_for_no_call(
        self, tmp_path: Path
    ) -> None:
        port = free_port()
        options = ("--port", str(port), "--no-tombstones", "--slow-seconds", "3600")
        process = simulator_process(tmp_path, *options)
        try:
            process.start()
            process.wait_for_output(f"Suppliers at http://127.0.0.1:{port}/cars, http")
            assert send(port, "PUT", "/cars/reservations/t1", '{"item": "valid-id"}') == 201
            process.kill()
            process.start()
            process.wait_for_output("Suppliers at ")
            assert send(port, "GET", "/cars/reservations/t1") == 200
            assert send(port, "DELETE", "/cars/reservations/t3") == 404, "the command line rules"
            with slow_call(port) as line:
                assert send(port, "GET", "/livez") == 200
                assert process.stop(signal.SIGTERM) == 0
                assert not line.recv(1)
            assert "Traceback" not in process.output
        finally:
            process.kill()


def _first_column(heading: str) -> list[str]:
    """Return the first column of a table of the docs."""
    table = DOCS.read_text().partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `(.*?)` \|", table, re.MULTILINE)


def send(port: int, method: str, path: str, content: str | None = None) -> int:
    data = None if content is None else content.encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
