"""A page of another site cannot use a visitor's browser to reach the service; all others can."""

import pytest
from werkzeug.test import TestResponse

from tests.api.api_client import JOHN, Api, assert_problem
from tests.api.stand_in import StandIn, over

KEY = "secret-of-the-shop-0"

FOREIGN: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    {"Sec-Fetch-Site": ""},
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost:8080"},
    {"Origin": "null"},
    {"Origin": ""},
]
OWN: list[dict[str, str]] = [
    {},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://localhost"},
    {"Origin": "http://localhost:80"},
    {"Origin": "http://LOCALHOST:3000", "Host": "localhost:3000"},
    {"Origin": "https://localhost", "Host": "localhost:443"},
    {"Origin": "http://[::1]:3000", "Host": "[::1]:3000"},
]
LOCAL = ["localhost", "LOCALHOST:3000", "127.0.0.1", "127.1.2.3:80", "[::1]", "[::1]:3000"]
REBOUND = [
    "evil.example",
    "evil.example:3000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "10.0.0.1:3000",
    "[::2]:3000",
    "[::1",
    "",
]


async def cancel(api: Api, headers: dict[str, str]) -> TestResponse:
    return await api.call("POST", "/bookings/nobody/cancel", headers=headers)


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_what_a_foreign_page_sends_is_refused(
    bookings: StandIn, api: Api, headers: dict[str, str]
) -> None:
    assert_problem(await cancel(api, headers), 403)
    assert_problem(await api.call("POST", "/book", json=JOHN, headers=headers), 403)
    # Even where a key is needed, and whatever the host is called.
    keyed = over(bookings, api_keys=f"shop:{KEY}")
    proven = headers | {"Authorization": f"Bearer {KEY}", "Host": "trips.example"}
    assert_problem(await cancel(keyed, proven), 403)

    # A link may lead here.
    for method in ("GET", "HEAD", "OPTIONS"):
        assert (await api.call(method, "/livez", headers=headers)).status_code == 200


@pytest.mark.parametrize("headers", OWN, ids=str)
async def test_what_its_own_pages_and_other_clients_send_is_not(
    api: Api, headers: dict[str, str]
) -> None:
    assert_problem(await cancel(api, headers), 404)


PUBLIC: list[tuple[str, dict[str, str], bool]] = [
    # A proxy may say any `Host`.
    ("http://trips.example:8080", {"Origin": "http://trips.example:8080"}, True),
    ("http://trips.example:8080", {"Origin": "http://localhost"}, False),
    ("http://trips.example:80/app", {"Origin": "http://TRIPS.example"}, True),
    ("https://trips.example", {"Origin": "http://trips.example"}, False),
    ("https://trips.example", {"Origin": "null"}, False),
    ("https://trips.example", {"Sec-Fetch-Site": "same-origin"}, True),
    ("https://trips.example", {}, True),
]


@pytest.mark.parametrize(("url", "headers", "own"), PUBLIC, ids=str)
async def test_the_public_url_decides_which_pages_are_its_own(
    bookings: StandIn, url: str, headers: dict[str, str], own: bool
) -> None:
    answer = await cancel(over(bookings, public_url=url), headers)
    assert_problem(answer, 404 if own else 403)
    if not own:
        assert answer.json and url in answer.json["detail"]


async def test_a_refusal_says_what_it_saw_and_what_to_set(bookings: StandIn, api: Api) -> None:
    seen = {"Origin": "http://trips.example:8080", "Host": "localhost"}
    detail = (await cancel(api, seen)).json["detail"]  # type: ignore[index]  # A problem.
    for told in ("`Host: localhost`", "`Origin: http://trips.example:8080`", "set PUBLIC_URL"):
        assert told in detail
    detail = (await api.get("/bookings", headers={"Host": "evil.example"})).json["detail"]  # type: ignore[index]  # A problem.
    assert "`Host: evil.example`" in detail and "API_KEYS" in detail


async def test_without_keys_it_is_served_by_the_names_of_localhost_only(api: Api) -> None:
    for host in REBOUND:
        for path in ("/bookings", "/livez", "/nowhere"):
            assert_problem(await api.get(path, headers={"Host": host}), 403)
    for host in LOCAL:
        assert (await api.get("/livez", headers={"Host": host})).status_code == 200


async def test_a_service_with_keys_answers_to_any_host_name(bookings: StandIn) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Host": "trips.example"}
    keyed = over(bookings, api_keys=f"shop:{KEY}", allow_anonymous=True)
    assert (await keyed.get("/bookings", headers=headers)).status_code == 200


KNOWN = [
    *(*LOCAL, "10.0.0.1:3000", "[fd00::2]:3000", "trips.example", "TRIPS.example:8080"),
    *("api:3000", "xn--caf-dma.example"),
]
UNKNOWN = [
    *("evil.example", "evil.example:3000", "localhost.evil.example", "10.0.0.1.evil.example"),
    *("sub.trips.example", "worker:3000", "[::1", ""),
]


async def test_a_service_for_anybody_answers_only_to_names_that_it_knows(
    bookings: StandIn,
) -> None:
    """A page of a name that was made to lead here lists, books, cancels and scrapes nothing."""
    told = {"public_url": "https://trips.example:8443/app", "allowed_hosts": "api, Café.example,"}
    anybody = over(bookings, allow_anonymous=True, **told)
    for host in KNOWN:
        for path in ("/bookings", "/metrics", "/livez"):
            answer = await anybody.get(path, headers={"Host": host})
            assert answer.status_code == 200, host
    for host in UNKNOWN:
        # To its browser the page is of the same site.
        headers = {"Host": host, "Sec-Fetch-Site": "same-origin"}
        for path in ("/bookings", "/metrics", "/livez", "/nowhere"):
            assert_problem(await anybody.get(path, headers=headers), 421)
        refused = await anybody.call("POST", "/book", json=JOHN, headers=headers)
        assert_problem(refused, 421)
        assert refused.json and "ALLOWED_HOSTS" in refused.json["detail"]
        assert f"`Host: {host}`" in refused.json["detail"]
    assert not bookings.trips
