"""Trips come to another owner, and their keys with them: by calls, and by the command."""

import asyncio
import os
import subprocess
import sys
from typing import Any

import pytest
import sqlalchemy as sa

from record import Record, database, owners
from record import __main__ as command
from record.tables import metadata
from tests.processes import DEADLINE, ROOT
from tests.record.databases import on_postgresql, transaction, url_of
from tests.record.trips import accepted, later, news, trip, trip_in

NOBODY = "anonymous"
"""The owner of what is booked without API keys."""


async def booked(record: Record, trip_id: str, owner: str, key: str | None = None) -> None:
    row = accepted(trip_id, owner=owner, key_fingerprint=None)
    assert (await record.trips.accept(row, key))[1]


async def hand_over(record: Record, old: str, new: str) -> tuple[int, list[tuple[str, str]]]:
    """Hand everything over; return how many trips, and which of them have lost their key."""
    total, doubles = 0, []
    while (some := await record.owners.hand_over(old, new))[0]:
        total += some[0]
        doubles += some[1]
    return total, doubles


async def of_key(record: Record, owner: str, key: str) -> str | None:
    found = await record.trips.by_key(owner, key)
    return None if found is None else found.trip_id


async def test_what_is_handed_over_is_found_by_its_key_and_listed(record: Record) -> None:
    await booked(record, "one", NOBODY, "key-1")
    await booked(record, "two", NOBODY)
    await booked(record, "other", "desk", "key-1")
    assert await hand_over(record, NOBODY, "shop") == (2, [])
    again, new = await record.trips.accept(accepted("again", owner="shop"), "key-1")
    assert (again.trip_id, new) == ("one", False)
    assert {row.trip_id for row in await record.trips.page(9, owner="shop")} == {"one", "two"}
    assert await record.trips.page(9, owner=NOBODY) == []
    assert await of_key(record, "desk", "key-1") == "other"
    assert await hand_over(record, NOBODY, "shop") == (0, [])


async def test_nothing_else_of_a_trip_changes(record: Record) -> None:
    await booked(record, "trip", NOBODY, "key")
    await record.reservations.reserve(trip(), "car")
    before = await trip_in(record)
    await hand_over(record, NOBODY, "shop")
    now = await trip_in(record)
    assert (now.owner, now.key_fingerprint) == ("shop", before.key_fingerprint)
    assert vars(now) | {"owner": NOBODY} == vars(before)
    # Its workflow, whose input has the old owner, goes on as before.
    await record.reservations.reserve(trip(owner=NOBODY), "hotel")
    await record.trips.tell(trip(owner=NOBODY), news("booked", 5))
    now = await trip_in(record)
    assert (now.owner, now.status, now.closed_at) == ("shop", "booked", later(5))


async def test_a_key_that_the_new_owner_has_used_goes_on_to_lead_to_its_own_trip(
    record: Record,
) -> None:
    for number in range(4):
        await booked(record, f"first-{number}", NOBODY, f"key-{number}")
    for number in (1, 3):
        await booked(record, f"second-{number}", "shop", f"key-{number}")
    total, doubles = await hand_over(record, NOBODY, "shop")
    assert total == 4
    assert sorted(doubles) == [("first-1", "second-1"), ("first-3", "second-3")]
    found = [await of_key(record, "shop", f"key-{number}") for number in range(4)]
    assert found == ["first-0", "second-1", "first-2", "second-3"]
    assert len(await record.trips.page(9, owner="shop")) == 6


async def test_of_a_key_of_version_2_and_one_of_today_the_owners_own_trip_is_found(
    record: Record,
) -> None:
    def of_version_2(owner: str, key: str) -> dict[str, Any]:
        return {"owner": owner, "key_fingerprint": owners.fingerprint_of(f"{owner}\n{key}")}

    await record.trips.accept(accepted("old", **of_version_2("old-shop", "a")))
    await booked(record, "own", "shop", "a")
    await booked(record, "old-too", "old-shop", "b")
    await record.trips.accept(accepted("own-too", **of_version_2("shop", "b")))
    await record.trips.accept(accepted("old-only", **of_version_2("old-shop", "c")))
    assert await hand_over(record, "old-shop", "shop") == (3, [])
    assert [await of_key(record, "shop", key) for key in "abc"] == ["own", "own-too", "old-only"]
    assert await of_key(record, "old-shop", "c") is None


async def test_names_that_come_back_are_found_as_well(record: Record) -> None:
    """A caller is renamed, and then called as before."""
    former = owners.fingerprint_of("a\nkey")
    await record.trips.accept(accepted("trip", owner="a", key_fingerprint=former))
    for old, new in ("ab", "bc", "ca", "ab"):
        assert await hand_over(record, old, new) == (1, [])
        assert await of_key(record, new, "key") == "trip"


async def test_all_are_handed_over_some_at_a_time(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "BATCH", 2)
    for number in range(5):
        await booked(record, f"trip-{number}", NOBODY, f"key-{number}")
    await booked(record, "own", "shop", "key-3")
    assert (await record.owners.hand_over(NOBODY, "shop"))[0] == 2
    # What was handed over stays so if the rest is not.
    assert len(await record.trips.page(9, owner="shop")) == 3
    total, _ = await hand_over(record, NOBODY, "shop")
    assert total == 3
    assert len(await record.trips.page(9, owner="shop")) == 6


@on_postgresql
async def test_a_key_that_is_used_in_the_very_moment_stops_nothing(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hand-over waits for the row of the new owner, and then meets its key."""
    monkeypatch.setattr(database, "LOCK_TRY", DEADLINE)
    monkeypatch.setattr(database, "STATEMENT_LIMIT", DEADLINE)
    monkeypatch.setattr(database, "ANSWER_LIMIT", DEADLINE)
    monkeypatch.setattr(database, "CALL_LIMIT", DEADLINE)
    for number in range(3):
        await booked(record, f"first-{number}", NOBODY, f"key-{number}")
    waiting = sa.text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with Record.open(url_of(record)) as patient:
        with transaction(record) as connection:
            own = dict(vars(accepted("second", owner="shop")))
            own["key_fingerprint"] = owners.fingerprint_of("key-1")
            del own["steps"]
            connection.execute(sa.insert(metadata.tables["trips"]), own)
            handing_over = asyncio.create_task(hand_over(patient, NOBODY, "shop"))
            async with asyncio.timeout(DEADLINE):
                while not await record.database.read(lambda sql: sql.scalar(waiting)):
                    await asyncio.sleep(0.01)
        assert await handing_over == (3, [("first-1", "second")])
    assert await of_key(record, "shop", "key-1") == "second"


async def test_a_repeat_that_meets_the_hand_over_books_nothing(
    pair: tuple[Record, Record],
) -> None:
    """The new owner repeats its key while the trip is handed over: one trip, or one named."""
    keys = [f"key-{number}" for number in range(20)]
    for key in keys:
        await booked(pair[0], f"first-{key}", NOBODY, key)
    repeats = [pair[1].trips.accept(accepted(f"second-{key}", owner="shop"), key) for key in keys]
    (_, doubles), *answers = await asyncio.gather(hand_over(pair[0], NOBODY, "shop"), *repeats)
    new = {row.trip_id for row, is_new in answers if is_new}
    assert {other for _, other in doubles} == new
    for key in keys:
        assert await of_key(pair[0], "shop", key) in (f"first-{key}", f"second-{key}")


async def test_whose_trips_are_nobodys_now_is_told(record: Record) -> None:
    assert await record.owners.besides([]) == []
    for number in range(3):
        for owner in ("", NOBODY, "old shop\n", "shop", "ö"):
            await booked(record, f"{owner}-{number}", owner)
    assert set(await record.owners.besides([])) == {"", NOBODY, "old shop\n", "shop", "ö"}
    assert set(await record.owners.besides(["shop", "desk", ""])) == {NOBODY, "old shop\n", "ö"}


# The command


def run(database_url: str, *arguments: str, **settings: str) -> tuple[int, list[str]]:
    """Run the command; return its exit code and what it has said."""
    done = subprocess.run(
        [sys.executable, "-m", "record", *arguments],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": database_url} | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


def told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *arguments: str
) -> list[str]:
    """Run the command in this process, and return what it logs."""
    monkeypatch.setattr(command, "stop_at_once_when_told", lambda: None)
    monkeypatch.setattr("sys.argv", ["record", *arguments])
    caplog.clear()
    with caplog.at_level("INFO", "record.__main__"):
        command.main()
    return [line.getMessage() for line in caplog.records if line.name == "record.__main__"]


async def test_the_command_says_what_it_has_done(record: Record) -> None:
    await booked(record, "first", NOBODY, "key")
    await booked(record, "plain", NOBODY)
    await booked(record, "second", "shop", "key")
    everything = "hand-over", f"--from={NOBODY}", "--to=shop"
    assert run(url_of(record), *everything, API_KEYS="shop:0123456789abcdef") == (
        0,
        [
            "Trip first loses its key to second. Cancel one if both are one trip",
            "Trips of 'anonymous' that were handed over to 'shop': 2",
        ],
    )
    assert run(url_of(record), *everything) == (
        0,
        ["Trips of 'anonymous' that were handed over to 'shop': 0"],
    )


async def test_an_id_forges_no_line_of_what_the_command_says(record: Record) -> None:
    await booked(record, "first\n\x1b[2Jfine", NOBODY, "key")
    await booked(record, "second\r\u202e", "shop", "key")
    code, said = run(url_of(record), "hand-over", f"--from={NOBODY}", "--to=shop")
    assert (code, len(said)) == (0, 2)
    assert r"first\n\x1b[2Jfine" in said[0]
    assert r"second\r\u202e" in said[0]
    assert all(map(str.isprintable, said))


@pytest.mark.parametrize(
    ("keys", "warned"),
    [
        ("", False),
        ("desk:0123456789abcdef, shop:0123456789abcdef", False),
        ("shop:0123456789abcdef:operator,desk:0123456789abcdef", False),
        ("shop:0123456789abcdef:metrics,desk:0123456789abcdef", True),
        ("desk:0123456789abcdef", True),
        ("my-shop:0123456789abcdef,shop-2:0123456789abcdef", True),
    ],
)
def test_a_new_owner_without_a_key_is_told_and_given_the_trips(
    own_database: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    keys: str,
    warned: bool,
) -> None:
    monkeypatch.setenv("API_KEYS", keys)
    said = told(monkeypatch, caplog, "hand-over", "--from=", "--to=shop")
    assert said[0] == "Trips of '' that were handed over to 'shop': 0"
    assert said[1:] == ["API_KEYS has no key of 'shop', so only operators see its trips"] * warned


@pytest.mark.parametrize("new", ["", NOBODY, "my shop", "shop:", "shop\n", "ö", "x" * 65])
def test_what_can_be_no_new_owner_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, new: str
) -> None:
    """The record, which is not there, is not asked."""
    with pytest.raises(SystemExit) as refused:
        told(monkeypatch, caplog, "hand-over", f"--from={NOBODY}", f"--to={new}")
    line = f"Nothing is handed over: {new!r} is not another name that API_KEYS may have"
    assert (refused.value.code, caplog.messages) == (line, [])


@pytest.mark.parametrize("arguments", [["--from=shop"], ["--to=shop"], ["--from=a", "--to=b", "c"]])
def test_a_command_line_that_is_none_changes_nothing(arguments: list[str]) -> None:
    code, said = run("sqlite:////dev/null/none.db", "hand-over", *arguments)
    assert (code, said[0][:6]) == (2, "usage:")
    assert "error: " in said[-1]


def test_a_record_that_is_away_is_told_in_one_line() -> None:
    code, said = run("sqlite:////dev/null/none.db", "hand-over", "--from=a", "--to=b")
    assert (code, len(said)) == (1, 1)
    assert said[0].startswith("The record is unavailable: ")
