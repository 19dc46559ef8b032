"""Reading the Idempotency-Key header: what the draft allows is taken, all else refused.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/, and for its strings
RFC 9651, section 3.3.3.
"""

import asyncio
import re
import subprocess
import sys
from unittest.mock import AsyncMock, MagicMock

import pytest
from pydantic import ValidationError

from api.schemas import BookHeaders
from tests.api.api_client import JOHN, Api, api_of, assert_problem, body_of
from tests.processes import ROOT

PATTERN = re.compile(
    BookHeaders.model_json_schema()["properties"]["Idempotency-Key"]["anyOf"][0]["pattern"]
)

GOOD = {
    '"order:123"': "order:123",
    "order:123": "order:123",
    "3q2+7w/Zz==": "3q2+7w/Zz==",
    '"a b, c"': "a b, c",
    r'"say \"hi\" \\ "': r'say "hi" \ ',
    '"abc";version=1;q=0.5; by="a \\"; b";t=text/x;b=:aGk=:;yes=?1;at=@1700000000;*': "abc",
    "a;b": "a;b",
    "!#$%&'()*+-./:;<=>?@[]^_`{|}~": "!#$%&'()*+-./:;<=>?@[]^_`{|}~",
    "x" * 255: "x" * 255,
    '"' + '\\"' * 255 + '"': '"' * 255,
}
BAD = [
    "",
    '""',
    *('"abc', 'abc"', 'a"b', "a b", "a,b", "abc, abc", '"abc", "abc"', r"a\b", r'"a\b"'),
    *('"abc" ;v=1', '"abc";V=1', '"abc";v=', '"abc"x', "\xe9", '"\xe9"', "\x7f", '"a\tb"'),
    *("x" * 256, '"' + "x" * 256 + '"'),
]


@pytest.mark.parametrize("header", GOOD, ids=ascii)
def test_a_good_key_is_read_without_its_quotes(header: str) -> None:
    assert BookHeaders.model_validate({"Idempotency-Key": header}).key == GOOD[header]
    assert BookHeaders.model_validate({"Idempotency-Key": f"\t{header} "}).key == GOOD[header]
    assert PATTERN.search(header), "The document says so"


@pytest.mark.parametrize("header", BAD, ids=ascii)
def test_a_bad_key_is_refused(header: str) -> None:
    with pytest.raises(ValidationError):
        BookHeaders.model_validate({"Idempotency-Key": header})
    assert not PATTERN.search(header), "The document says so"


@pytest.mark.parametrize("header", [["abc", "abc"], ["a\\b"], ["\xe9"], [""]], ids=ascii)
async def test_a_bad_header_is_named(api: Api, header: list[str]) -> None:
    headers = [("Idempotency-Key", value) for value in header]
    response = await api.call("POST", "/book", json=JOHN, headers=headers)
    assert_problem(response, 400, "Idempotency-Key")


async def test_quoted_or_bare_a_key_is_the_same(api: Api) -> None:
    ids = [
        body_of(await api.book(JOHN, Idempotency_Key=header))["user_id"]
        for header in ('"order:123"', "order:123", '"order:123";sent=2', '"order 123"')
    ]
    assert ids[0] == ids[1] == ids[2] != ids[3]


async def test_a_key_with_another_body_is_a_422(api: Api) -> None:
    body_of(await api.book(JOHN, Idempotency_Key="used"))
    assert_problem(await api.book(JOHN | {"car": "another"}, Idempotency_Key="used"), 422)


async def test_after_api_keys_were_set_a_key_leads_to_its_trip_once_that_is_handed_over(
    own_database: str,
) -> None:
    client = MagicMock()
    client.start_workflow = start = AsyncMock()
    at_once = {"Idempotency_Key": "order-1", "Prefer": "respond-async"}
    user_id = body_of(await api_of(client).book(JOHN, **at_once))["user_id"]
    await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "record", "hand-over", "--from=anonymous", "--to=shop"],
        cwd=ROOT,
        check=True,
    )
    keys = {"shop": "0123456789abcdef", "desk": "fedcba9876543210"}
    with_keys = api_of(client, api_keys=",".join(map(":".join, keys.items())))
    for name, sees in (("shop", True), ("desk", False)):
        auth = {"Authorization": f"Bearer {keys[name]}"}
        again = body_of(await with_keys.book(JOHN, **at_once, **auth))
        assert (again["user_id"] == user_id) is sees, name
        looked_up = await with_keys.get(f"/bookings/{user_id}", headers=auth)
        assert looked_up.status_code == (200 if sees else 404)
        assert (user_id in (await with_keys.get("/bookings", headers=auth)).text) is sees
    ids = {call.kwargs["id"] for call in start.await_args_list}
    assert len(ids) == 2, "One of the shop, one of the desk"
