"""`docs/template.md` makes an order service of a copy, by the page's own commands."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT
from tests.rename import Names, meetings
from tests.test_kinds import project as project
from tests.test_kinds import run, run_fast_tests

PAGE = (ROOT / "docs" / "template.md").read_text()

FAST_TESTS = ".venv/bin/python -m pytest -q -n 2 -m 'not slow'\n"
"""The command that runs them."""

PARTS = ("The pages", "The simulator", "Deploy", "The audit")
"""What may go, in the order of the page."""

WITHOUT_PAGES = """
import asyncio, logging, starter
from connection import lazy_client

logging.disable()
client = asyncio.run(lazy_client({"target_host": "localhost:1"}))
http = starter.create_app(client).test_client()
for method, path in [("POST", "/book"), ("GET", "/openapi.json"), ("GET", "/livez"), ("GET", "/")]:
    answer = http.open(path, method=method, json={"name": ""} if method == "POST" else None)
    print(method, path, answer.status_code, answer.mimetype)
"""

ORDERS = """
import json, sys
from tests.processes import service

with service() as shop:
    shop.start()
    for order in json.loads(sys.argv[1]):
        answer = shop.request("POST", "/book", order).body
        found = shop.request("GET", f"/bookings/{answer['user_id']}").body
        states = {step["kind"]: step["state"] for step in found["steps"]}
        told = answer, found["status"], states, shop.reserved(answer["user_id"])
        sys.stdout.write(json.dumps(told) + "\\n")
"""


def blocks(heading: str, language: str) -> list[str]:
    """Return the code blocks in a language below a heading of the page, up to the next one."""
    (section,) = re.findall(rf"^#+ {heading}\n(.*?)(?=^#|\Z)", PAGE, re.M | re.S)
    return re.findall(rf"^```{language}\b[^\n]*\n(.*?)^```$", section, re.M | re.S)


def do(copy: Path, heading: str) -> None:
    """Run the commands below a heading, less those that ask the running service."""
    for block in blocks(heading, "console"):
        if not block.startswith("curl"):
            run(copy, "sh", "-ec", block.removesuffix(FAST_TESTS))
        if block.endswith(FAST_TESTS):
            run_fast_tests(copy)


def books(copy: Path, *orders: dict[str, str]) -> list[Any]:
    """Book orders at the copy's service: what is answered, looked up and held of each."""
    told = run(copy, sys.executable, "-c", ORDERS, json.dumps(orders))
    return [json.loads(line) for line in told.splitlines()]


@pytest.fixture
def clone(project: Path) -> Path:
    """A copy of the project in a git of its own."""
    run(project, "git", "init", "--quiet")
    (project / ".git" / "info" / "exclude").write_text(".venv\n")
    run(project, "git", "config", "user.name", "somebody")
    run(project, "git", "config", "user.email", "somebody@example.com")
    run(project, "git", "add", "--all")
    run(project, "git", "commit", "--quiet", "--message=A start")
    return project


def test_every_diff_of_the_page_applies_and_only_takes_away(project: Path) -> None:
    for part in PARTS:
        (diff,) = blocks(part, "diff")
        run(project, "git", "apply", told=diff)


def test_the_service_works_without_the_pages(project: Path) -> None:
    shutil.rmtree(project / "pages")
    (diff,) = blocks("The pages", "diff")
    run(project, "git", "apply", told=diff)
    assert run(project, sys.executable, "-c", WITHOUT_PAGES).splitlines() == [
        "POST /book 400 application/problem+json",
        "GET /openapi.json 200 application/json",
        "GET /livez 200 application/json",
        "GET / 404 application/problem+json",
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("trip_id, NewTrips, ALL_TRIPS", "order_id, NewOrders, ALL_ORDERS"),
        (
            "A trip, an open trip, all_trips: a\ntrip",
            "An order, an open order, all_orders: an\norder",
        ),
        ("#how-a-trip-looks", "#how-an-order-looks"),
        ("strip, Tripod, sidecar, scarce", "strip, Tripod, sidecar, scarce"),
        (r"a line\ntrip, #tripspastdeadline", r"a line\norder, #orderspastdeadline"),
        (
            "cars, a car's, CAR_URL, a_car",
            "gift_cards, a gift_card's, GIFT_CARD_URL, a_gift_card",
        ),
        ("Car, Cars", "GiftCard, GiftCards"),
        ("two hotels and an airline", "two deliveries and an airline"),
    ],
)
def test_words_are_renamed_in_each_form_and_no_part_of_another(before: str, after: str) -> None:
    names = Names({"trip": "order", "car": "gift_card", "hotel": "delivery"})
    assert names.renamed(before) == after


def test_names_that_become_one_are_told() -> None:
    code = "def book(trip, order): return trip + 'trips' + order_of(trip_of)\n"
    assert meetings(Names({"trip": "order"}), code) == {("trip", "order"), ("trip_of", "order_of")}


@pytest.mark.slow
def test_an_order_service_comes_of_this_project(clone: Path) -> None:
    for step in ("The pages", "The simulator", "Rename", "See it work"):
        do(clone, step)
    found = [re.search("-d '(.*)'", block) for block in blocks("See it work", "console")]
    orders = [json.loads(each[1]) for each in found if each]
    booked, refused = books(clone, *orders)
    do(clone, "Make it yours")
    run(clone, sys.executable, "-m", "pytest", "-q", "tests/test_documents.py")

    wanted = {name: orders[0][name] for name in ("payment", "stock", "parcel")}
    assert booked[0]["cancelled"] is False
    assert booked[0]["parcel"] == f"Parcel: {wanted['parcel']}"
    assert booked[1:] == ["booked", dict.fromkeys(wanted, "booked"), wanted]

    assert refused[0]["cancelled"] is True
    assert refused[0]["reason"] == "Invalid parcel booking, rolling back!"
    assert refused[1:] == ["rolled_back", dict.fromkeys(wanted, "undone"), {}]


@pytest.mark.slow
def test_what_is_left_checks_and_starts_whatever_went(clone: Path) -> None:
    for part in PARTS:
        do(clone, part)
        for tool in ("ruff check", "ruff format --check", "mypy"):
            run(clone, sys.executable, "-m", *tool.split(), ".")
        run(clone, sys.executable, "-m", "tach", "check")
        run(clone, sys.executable, "-c", "import starter, run_worker")
        run(clone, sys.executable, "-m", "pytest", "-q", "tests/test_documents.py")
