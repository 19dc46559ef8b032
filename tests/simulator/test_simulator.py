"""The simulated suppliers: that they keep the contract, and break it as told and no further."""

import asyncio
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

from shared import KINDS
from simulator import __main__ as command
from simulator import service
from simulator.answers import SimulatedSuppliers
from simulator.behaviour import BEFORE, Item, Mode, SimulatedFaults, Way
from simulator.stock import TAKES_A_PLACE, Row, Stock
from tests.faults import DEADLINE
from tests.processes import ROOT, Process, bare_environment, free_port, wait_until
from tests.simulator.simulated import CutOff, Simulator, simulated, slow_call

DOCS = ROOT / "docs" / "suppliers.md"

MODES = [
    {"idempotent": idempotent, "tombstones": tombstones}
    for idempotent in (True, False)
    for tombstones in (True, False)
]

NO_IDEMPOTENCY, NO_TOMBSTONES = {"idempotent": False}, {"tombstones": False}


@pytest.fixture
async def simulator(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
    """A simulator that runs, in the mode of the test's parameter."""
    async with simulated(tmp_path / "suppliers.db", getattr(request, "param", {})) as simulator:
        yield simulator


def in_mode(**mode: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("simulator", [mode], indirect=True)


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

    async def test_what_was_never_booked_cannot_be_booked_after_its_cancellation(
        self, simulator: Simulator
    ) -> None:
        assert (await simulator.get("t")).status == 404
        assert (await simulator.delete("t")).body == {"state": "cancelled"}
        assert (await simulator.get("t")).body == {"state": "cancelled"}
        refused = await simulator.put("t", "valid-id")
        assert refused.status == 409
        assert refused.headers["Content-Type"].startswith("application/problem+json")
        assert (await simulator.put("t", "valid-id", "car")).status == 201, "another supplier"

    async def test_a_trip_has_one_item_of_a_kind(self, simulator: Simulator) -> None:
        await simulator.put("t", "valid-id")
        assert (await simulator.put("t", "another-id")).status == 409
        assert (await simulator.get("t")).body["item"] == "valid-id"

    @pytest.mark.parametrize("trip_id", ["a/b", "%252f", "a b\n{c}", "?#;&+", "日本👪", "a\x00b"])
    async def test_a_trip_may_have_any_name(self, simulator: Simulator, trip_id: str) -> None:
        assert (await simulator.put(trip_id, trip_id)).body["item"] == trip_id
        assert (await simulator.get(trip_id)).status == 200
        rows = (await simulator.call("GET", "/reservations")).body
        assert [row["trip_id"] for row in rows] == [trip_id]
        assert (await simulator.delete(trip_id)).status == 200

    @pytest.mark.parametrize(
        "content",
        [b"", b"[" * 9_000, b"[]", b'{"item": ""}', b'{"item": 1}', b'{"item": "\xff"}'],
    )
    async def test_what_is_malformed_is_refused_and_does_nothing(
        self, simulator: Simulator, content: bytes
    ) -> None:
        refused = await simulator.call("PUT", "/cars/reservations/t", data=content)
        assert (refused.status, refused.body["status"]) == (400, 400)
        assert not await simulator.states()

    async def test_what_is_nowhere_or_too_large_is_a_problem(self, simulator: Simulator) -> None:
        for method, path, data, status in (
            ("PUT", "/cars/reservations/t", b" " * 70_000, 413),
            ("GET", "/ships/reservations/t", None, 404),
            ("POST", "/cars/reservations/t", None, 405),
        ):
            refused = await simulator.call(method, path, data=data)
            assert (refused.status, refused.body["status"]) == (status, status)

    async def test_a_fourth_kind_comes_by_itself(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service, "KINDS", (*KINDS, "train"))
        async with simulated(tmp_path / "suppliers.db") as simulator:
            assert (await simulator.put("t", "valid-id", "train")).status == 201
            refused = await simulator.put("t2", "unknown-id", "train")
            assert refused.body["detail"] == "There is no train unknown-id"

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


class TestModes:
    @in_mode(**NO_IDEMPOTENCY, **NO_TOMBSTONES)
    async def test_without_idempotency_each_put_is_a_reservation_and_each_delete_takes_one(
        self, simulator: Simulator
    ) -> None:
        booked = [await simulator.put("t", "valid-3-rooms") for _ in range(3)]
        assert [answer.status for answer in booked] == [201, 201, 201]
        assert len({answer.body["reference"] for answer in booked}) == 3
        assert (await simulator.put("t", "valid-3-rooms")).status == 422
        await simulator.delete("t")
        assert await simulator.states() == {"confirmed": 2, "cancelled": 1}
        assert (await simulator.get("t")).body["state"] == "confirmed"
        for _ in range(3):
            assert (await simulator.delete("t")).status == 200
        assert (await simulator.get("t")).body["state"] == "cancelled"

    @in_mode(**NO_TOMBSTONES)
    async def test_without_tombstones_a_cancellation_is_forgotten(
        self, simulator: Simulator
    ) -> None:
        assert (await simulator.delete("t")).status == 404
        assert not await simulator.states()
        for _ in range(2):
            assert (await simulator.put("t", "valid-id")).status == 201
            assert (await simulator.put("t", "valid-id")).status == 200
            assert (await simulator.delete("t")).status == 200
        assert await simulator.states() == {"cancelled": 2}

    async def test_mode_and_faults_are_ruled_over_http(self, simulator: Simulator) -> None:
        assert (await simulator.call("PUT", "/mode", {"tombstones": False})).status == 200
        ruled = await simulator.call("PUT", "/mode", {"late_seconds": 0})
        assert ruled.body == {"idempotent": True, "tombstones": False, "late_seconds": 0}
        faults = {"share": 1, "ways": ["busy"]}
        assert (await simulator.call("PUT", "/faults", faults)).body == faults
        assert (await simulator.delete("t")).status == 429
        for bad in ({"share": 2}, {"share": 1, "ways": []}, {"share": 0, "ways": ["odd"]}):
            assert (await simulator.call("PUT", "/faults", bad)).status == 400
        assert (await simulator.call("PUT", "/mode", {"tombstone": True})).status == 400
        assert (await simulator.delete("t")).status == 429, "a bad rule changes nothing"
        assert (await simulator.call("DELETE", "/faults")).body["share"] == 0
        assert (await simulator.delete("t")).status == 404


class TestItems:
    @pytest.mark.parametrize(
        ("name", "words", "places", "failures"),
        [
            ("valid-hotel-id", set(), 1_000_000, 0),
            ("Sold-Out", {"sold-out"}, 1_000_000, 0),
            ("my_unknown_one", {"unknown"}, 1_000_000, 0),
            ("pending-sold-out", {"pending-sold-out"}, 1_000_000, 0),
            ("slow-non-refundable-7", {"slow", "non-refundable"}, 1_000_000, 0),
            ("valid-10-seats", set(), 10, 0),
            ("10-seats-a", set(), 1_000_000, 0),
            ("flaky", {"flaky"}, 1_000_000, 2),
            ("flaky-5", {"flaky"}, 1_000_000, 5),
            ("flaky-10-seats", {"flaky"}, 10, 2),
            ("flaky-5-10-seats", {"flaky"}, 10, 5),
        ],
    )
    def test_a_name_says_what_an_item_does(
        self, name: str, words: set[str], places: int, failures: int
    ) -> None:
        item = Item.named(name)
        assert item == Item(name, frozenset(words), places, failures)

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
        self, simulator: Simulator, item: str, status: int, detail: str
    ) -> None:
        refused = await simulator.put("t", item, "flight")
        assert (refused.status, refused.body["detail"]) == (status, detail)
        assert refused.headers["Content-Type"].startswith("application/problem+json")
        assert not await simulator.states()

    async def test_a_flaky_item_fails_so_often_for_each_trip(self, simulator: Simulator) -> None:
        for trip_id in ("t1", "t2"):
            assert [(await simulator.put(trip_id, "flaky")).status for _ in range(4)] == [
                *(503, 503, 201, 200)
            ]
        tries = [(await simulator.put("t3", "flaky-5")).status for _ in range(6)]
        assert tries == [503] * 5 + [201]

    async def test_a_busy_item_says_when_to_come_again(self, simulator: Simulator) -> None:
        turned_away = await simulator.put("t", "busy")
        assert (turned_away.status, turned_away.headers["Retry-After"]) == (429, "2")
        assert (await simulator.put("t", "busy")).status == 201

    @pytest.mark.parametrize("simulator", [{}, NO_IDEMPOTENCY], indirect=True)
    async def test_a_lost_answer_is_one_of_a_booking(self, simulator: Simulator) -> None:
        with pytest.raises(CutOff):
            await simulator.put("t", "lost-answer")
        assert await simulator.states() == {"confirmed": 1}
        again = await simulator.put("t", "lost-answer")
        idempotent = simulator.suppliers.mode.idempotent
        assert again.status == (200 if idempotent else 201)
        assert await simulator.states() == {"confirmed": 1 if idempotent else 2}

    async def test_a_pending_item_is_confirmed_later(self, simulator: Simulator) -> None:
        for _ in range(2):
            asked = await simulator.put("t", "pending")
            assert (asked.status, asked.headers["Retry-After"]) == (202, "3")
            assert asked.body == {"state": "pending", "item": "pending"}
        found = await simulator.get("t")
        assert (found.status, found.body) == (200, asked.body)
        simulator.now += 3
        assert (await simulator.get("t")).body["state"] == "confirmed"
        assert (await simulator.put("t", "pending")).status == 200

    async def test_a_pending_item_that_is_cancelled_stays_so(self, simulator: Simulator) -> None:
        await simulator.put("t", "pending-1-rooms")
        assert (await simulator.delete("t")).status == 200
        simulator.now += 3
        assert (await simulator.get("t")).body["state"] == "cancelled"
        assert (await simulator.put("t2", "pending-1-rooms")).status == 202

    async def test_a_pending_item_may_turn_out_to_be_sold_out(self, simulator: Simulator) -> None:
        item = "pending-sold-out-1-rooms"
        assert (await simulator.put("t", item)).status == 202
        assert (await simulator.put("t2", item)).status == 422
        simulator.now += 3
        assert (await simulator.get("t")).body["state"] == "cancelled"
        assert (await simulator.put("t", item)).status == 409
        assert (await simulator.put("t2", item)).status == 202, "its place is free"

    async def test_a_fare_without_refund_is_kept(self, simulator: Simulator) -> None:
        await simulator.put("t", "non-refundable")
        refused = await simulator.delete("t")
        assert (refused.status, refused.body["detail"]) == (409, "This fare cannot be refunded")
        assert (await simulator.get("t")).body["state"] == "confirmed"

    async def test_a_slow_cancellation_is_held_until_it_is_done(self, simulator: Simulator) -> None:
        await simulator.put("t", "slow-to-cancel-1-rooms")
        for _ in range(2):
            asked = await simulator.delete("t")
            assert (asked.status, asked.headers["Retry-After"]) == (202, "3")
            assert asked.body == {"state": "cancelling"}
        assert (await simulator.get("t")).body["state"] == "confirmed"
        assert (await simulator.put("t", "slow-to-cancel-1-rooms")).status == 409
        assert (await simulator.put("t2", "slow-to-cancel-1-rooms")).status == 422
        simulator.now += 3
        assert (await simulator.get("t")).body["state"] == "cancelled"
        assert (await simulator.delete("t")).status == 200
        assert (await simulator.put("t2", "slow-to-cancel-1-rooms")).status == 201


class TestLateBookings:
    @pytest.mark.parametrize("simulator", MODES, indirect=True)
    async def test_a_late_booking_shows_up_late_and_once(self, simulator: Simulator) -> None:
        assert (await simulator.put("t", "late")).status == 503
        assert (await simulator.get("t")).status == 404
        assert (await simulator.put("t", "late")).status == 503, "still under way"
        simulator.now += 3.9
        assert await simulator.states() == {"late": 1 if simulator.suppliers.mode.idempotent else 2}
        simulator.now += 0.1
        assert (await simulator.get("t")).body["state"] == "confirmed"
        again = await simulator.put("t", "late")
        if simulator.suppliers.mode.idempotent:
            assert again.status == 200
            assert await simulator.states() == {"confirmed": 1}
        else:
            assert again.status == 201
            assert await simulator.states() == {"confirmed": 3}

    async def test_a_cancelled_trip_is_not_booked_late(self, simulator: Simulator) -> None:
        await simulator.put("t", "late")
        assert (await simulator.delete("t")).status == 200
        simulator.now += 4
        assert await simulator.states() == {"cancelled": 1}

    @in_mode(**NO_TOMBSTONES)
    async def test_without_tombstones_a_cancelled_trip_is_booked_late(
        self, simulator: Simulator
    ) -> None:
        await simulator.put("t", "late")
        assert (await simulator.delete("t")).status == 404
        simulator.now += 4
        assert await simulator.states() == {"confirmed": 1}

    async def test_a_late_booking_waits_out_a_restart(self, simulator: Simulator) -> None:
        await simulator.put("t", "late")
        await simulator.stop()
        simulator.now += 4
        await simulator.start()
        assert (await simulator.get("t")).body["state"] == "confirmed"

    async def test_a_late_booking_takes_no_place_that_is_gone(self, simulator: Simulator) -> None:
        await simulator.put("t", "late-1-rooms")
        simulator.stock.add("hotel", "t2", "late-1-rooms", "confirmed")
        simulator.now += 4
        assert await simulator.states() == {"confirmed": 1}
        assert not await simulator.states("t")

    async def test_a_late_booking_of_an_undecided_item_is_undecided(
        self, simulator: Simulator
    ) -> None:
        await simulator.put("t", "late-pending")
        simulator.now += 4
        assert (await simulator.get("t")).body["state"] == "pending"
        simulator.now += 3
        assert (await simulator.get("t")).body["state"] == "confirmed"

    async def test_what_was_booked_meanwhile_is_not_booked_late_as_well(
        self, simulator: Simulator
    ) -> None:
        await simulator.call("PUT", "/faults", {"share": 1, "ways": ["late"]})
        assert (await simulator.put("t", "valid-id")).status == 503
        await simulator.call("DELETE", "/faults")
        assert (await simulator.put("t", "valid-id")).status == 201
        simulator.now += 4
        assert await simulator.states() == {"confirmed": 1}


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

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("seed", range(3))
    def test_whatever_comes_places_are_counted_and_promises_kept(
        self, tmp_path: Path, mode: dict[str, bool], seed: int
    ) -> None:
        chance, now = random.Random(seed), 0.0
        stock = Stock(tmp_path / "suppliers.db")
        suppliers = SimulatedSuppliers(stock, Mode(**mode), clock=lambda: now)
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
            if mode["idempotent"]:
                assert set(firm.values()) <= {1}
                if mode["tombstones"]:
                    assert not firm.keys() & cancelled
        stock.close()

    def test_no_two_references_are_the_same(self) -> None:
        references = [
            Row(number, "car", "t", "x", "confirmed", None).reference for number in range(20_000)
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
    async def test_slow_calls_by_the_hundred_hold_nobody_up(
        self, simulator: Simulator, pause: Pause
    ) -> None:
        calls = [asyncio.create_task(simulator.put(f"t{n}", "slow")) for n in range(100)]
        await pause.until_waiting(100)
        assert (await simulator.put("t", "valid-id")).status == 201
        assert await simulator.states() == {"confirmed": 1}, "slow ones take effect at the end"
        pause.over.set()
        assert {answer.status for answer in await asyncio.gather(*calls)} == {201}
        assert await simulator.states() == {"confirmed": 101}

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
        match way:
            case "error before" | "error after":
                assert said.status == 500
            case "busy":
                assert (said.status, said.headers["Retry-After"]) == (429, "1")
            case "garbled":
                assert said.status == 200
                with pytest.raises(ValueError, match=r"^Unterminated"):
                    json.loads(said.text)
            case "html":
                assert (said.status, said.text[:2]) == (200, "<!")
                assert len(said.text) > 3_000_000
            case "redirect":
                assert (said.status, said.headers["Location"]) == (307, "/elsewhere")
            case "maybe":
                assert (said.status, said.body) == (200, {"state": "maybe"})
            case "wrong item":
                assert (said.status, said.body["state"]) == (200, "confirmed")
                assert said.body["item"] != "valid-id"
            case "slow":
                assert said.body["state"] in ("confirmed", "cancelled")
            case "late":
                assert said.status in (200, 503)

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
        again = random.Random(7)
        assert chosen == Counter(faults.choose("PUT", 4.0, again) for _ in range(10_000))

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
        words.remove("N-seats")
        assert [Item.named(word).words for word in words] == [{word} for word in words]

    def test_the_docs_have_what_it_answers(self, tmp_path: Path) -> None:
        """Each call of the transcript, but for the wait before the last one."""
        console = DOCS.read_text().partition("$ HOTELS=")[2].partition("```")[0]
        # Python 3.13 calls it Unprocessable Content, as RFC 9110 does.
        console = console.replace("Unprocessable Entity", HTTPStatus(422).phrase)
        calls = re.findall(r"^\$ curl (.*)\n(.*) (\d{3})$", console, re.MULTILINE)
        time = [0.0]
        stock = Stock(tmp_path / "suppliers.db")
        suppliers = SimulatedSuppliers(stock, Mode(), clock=lambda: time[0])
        for call, body, status in calls:
            match = re.fullmatch(r"(?:-X (\w+) )?\$HOTELS/(\S+)(?: -d '(.*)')?", call)
            assert match, call
            method, trip_id, sent = match.groups()
            if method == "PUT":
                answer = suppliers.book("hotel", trip_id, json.loads(sent)["item"])
            elif method == "DELETE":
                answer = suppliers.cancel("hotel", trip_id)
            else:
                time[0] += 4.0
                answer = suppliers.find("hotel", trip_id)
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
            "--late-seconds -1",
            "--slow-seconds inf",
            "--seed x",
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

    def test_killed_it_comes_back_with_all_it_held_and_owed(self, tmp_path: Path) -> None:
        port = free_port()
        process = simulator_process(tmp_path, port, "--late-seconds", "1", "--no-tombstones")
        try:
            process.start()
            process.wait_for_output(f"Suppliers at http://127.0.0.1:{port}/cars, http")
            assert send(port, "PUT", "/cars/reservations/t1", '{"item": "valid-id"}') == 201
            assert send(port, "PUT", "/cars/reservations/t2", '{"item": "late"}') == 503
            process.kill()
            process.start()
            process.wait_for_output("Suppliers at ")
            assert send(port, "GET", "/cars/reservations/t1") == 200
            wait_until(
                lambda: send(port, "GET", "/cars/reservations/t2") == 200, "it is booked late"
            )
            assert send(port, "DELETE", "/cars/reservations/t3") == 404, "the command line rules"
            assert process.stop(signal.SIGTERM) == 0
            assert "Traceback" not in process.output
        finally:
            process.kill()

    def test_told_to_stop_it_waits_for_no_call(self, tmp_path: Path) -> None:
        port = free_port()
        process = simulator_process(tmp_path, port, "--slow-seconds", "3600")
        try:
            process.start()
            process.wait_for_output("Suppliers at ")
            with slow_call(port) as line:
                assert send(port, "GET", "/livez") == 200
                assert process.stop(signal.SIGINT) == 0
                assert not line.recv(1)
            assert "Traceback" not in process.output
        finally:
            process.kill()


def _first_column(heading: str) -> list[str]:
    """Return the first column of a table of the docs."""
    table = DOCS.read_text().partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `(.*?)` \|", table, re.MULTILINE)


def simulator_process(folder: Path, port: int, *options: str) -> Process:
    place = ["--port", str(port), "--database", str(folder / "suppliers.db")]
    command = [sys.executable, "-m", "simulator", *place, *options]
    return Process("simulator", command, folder / "simulator.log", bare_environment())


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
