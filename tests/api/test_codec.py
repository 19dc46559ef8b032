"""The codec server decrypts for operators, and for the pages of Temporal's Web UI alone."""

import base64
import json
from typing import Any

import pytest
from werkzeug.test import TestResponse

from api import keys
from tests.api.api_client import JOHN, JSON, Api, assert_problem
from tests.api.stand_in import StandIn, app_over, over
from tests.api.test_access import DESK, OTHER, bearer
from tests.api.test_foreign_sites import FOREIGN

KEYS = f"new:{base64.b64encode(bytes(32)).decode()}"
CALLERS = f"other:{OTHER},desk:{DESK}:operator"
UI = {"Origin": "http://localhost:8233", "Sec-Fetch-Site": "same-site"}
ALLOWED = "Access-Control-Allow-Origin"

PLAIN = {
    "payloads": [
        {
            "metadata": {"encoding": base64.b64encode(b"json/plain").decode()},
            "data": base64.b64encode(b'"Quillfeather"').decode(),
        }
    ]
}


@pytest.fixture
def api(bookings: StandIn) -> Api:
    return over(bookings, payload_keys=KEYS)


@pytest.fixture
def keyed(bookings: StandIn, own_database: str) -> Api:
    app = app_over(bookings, payload_keys=KEYS, api_keys=CALLERS)
    # With cookies of its own the client would send those that it was given.
    return Api(app.test_client(use_cookies=False))


async def ask(api: Api, what: str, body: Any = PLAIN, **headers: str) -> TestResponse:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.call("POST", f"/codec/{what}", data=json.dumps(body), headers=JSON | sent)


async def test_what_it_encodes_it_decodes(api: Api) -> None:
    sealed = await ask(api, "encode")
    assert sealed.status_code == 200
    assert "Quillfeather" not in str(base64.b64decode(sealed.json["payloads"][0]["data"]))  # type: ignore[index]  # It is JSON.
    opened = await ask(api, "decode?preserveStorageRefs=true", sealed.json, **UI)
    assert opened.json == PLAIN
    assert opened.headers[ALLOWED] == UI["Origin"]


async def test_an_events_payloads_are_taken_at_once_and_endless_ones_are_not(api: Api) -> None:
    many = {"payloads": PLAIN["payloads"] * 1_500}
    assert len(json.dumps(many)) > 100_000
    assert (await ask(api, "decode", many)).json == many
    assert_problem(await ask(api, "decode", {"payloads": PLAIN["payloads"] * 5_000}), 413)
    # Other bodies stay as short as before.
    assert_problem(await api.call("POST", "/book", json=JOHN | {"name": "x" * 17_000}), 413)


async def test_a_missing_key_is_named(bookings: StandIn, api: Api) -> None:
    elsewhere = over(bookings, payload_keys=KEYS.replace("new", "another"))
    sealed = await ask(elsewhere, "encode")
    refused = await ask(api, "decode", sealed.json, **UI)
    assert_problem(refused, 400)
    assert "'another', which PAYLOAD_KEYS has not" in refused.text
    assert ALLOWED in refused.headers, "The Web UI cannot show what its page may not read"
    assert_problem(await api.call("POST", "/codec/decode", data=b"{", headers=JSON), 400)


async def test_only_operators_are_answered(keyed: Api) -> None:
    assert_problem(await ask(keyed, "decode"), 401)
    assert_problem(await ask(keyed, "decode", **bearer("wrong")), 401)
    for what in ("decode", "encode", "cookie"):
        assert_problem(await ask(keyed, what, **bearer(OTHER)), 403)
        assert (await ask(keyed, what, **bearer(DESK))).status_code == 200


async def test_nobody_is_answered_without_a_key_beyond_loopback(bookings: StandIn) -> None:
    anybody = over(bookings, payload_keys=KEYS, allow_anonymous=True)
    for what in ("decode", "encode", "cookie"):
        for host in ("localhost:3000", "10.0.0.1:3000"):
            refused = await ask(anybody, what, Host=host)
            assert_problem(refused, 403)
            assert "API_KEYS" in refused.text
    with_keys = over(bookings, payload_keys=KEYS, allow_anonymous=True, api_keys=CALLERS)
    assert (await ask(with_keys, "decode", **bearer(DESK))).status_code == 200


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_no_other_sites_page_is_answered(
    api: Api, keyed: Api, headers: dict[str, str]
) -> None:
    for what in ("decode", "encode", "cookie"):
        for refused in (
            await ask(api, what, **headers),
            await ask(keyed, what, **headers | bearer(DESK)),
        ):
            assert_problem(refused, 403)
            assert ALLOWED not in refused.headers


async def test_the_web_uis_page_may_do_nothing_else(
    bookings: StandIn, api: Api, keyed: Api
) -> None:
    # Without a key its browser asks whether it may ask with one.
    may_ask = await keyed.call("OPTIONS", "/codec/decode", headers=UI)
    assert (may_ask.status_code, may_ask.headers[ALLOWED]) == (200, UI["Origin"])
    assert "authorization" in may_ask.headers["Access-Control-Allow-Headers"]
    assert_problem(await ask(over(bookings), "decode"), 404)  # Nothing is encrypted there.
    assert_problem(await api.call("POST", "/book", json=JOHN, headers=UI), 403)
    assert_problem(await ask(api, "cookie", **UI), 403)
    answer = await api.get("/livez", headers=UI)
    assert ALLOWED not in answer.headers


async def test_a_cookie_lets_the_web_ui_decode_and_is_good_for_nothing_else(keyed: Api) -> None:
    given = await ask(keyed, "cookie", **bearer(DESK))
    cookie = given.headers["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/codec", "Max-Age"))
    assert DESK not in cookie
    under = over(StandIn(), api_keys=CALLERS, payload_keys=KEYS, public_url="https://a.example/b")
    assert "Path=/b/codec" in (await ask(under, "cookie", **bearer(DESK))).headers["Set-Cookie"]
    sent = {"Cookie": cookie.partition(";")[0]}
    opened = await ask(keyed, "decode", **UI | sent)
    assert opened.json == PLAIN
    assert opened.headers["Access-Control-Allow-Credentials"] == "true"
    assert_problem(await ask(keyed, "decode", **UI | {"Cookie": "codec=wrong"}), 401)
    assert_problem(await ask(keyed, "decode", **sent | {"Origin": "http://elsewhere"}), 403)
    assert_problem(await ask(keyed, "cookie", **sent), 401)
    assert_problem(await keyed.get("/bookings", headers=sent), 401)


async def test_a_cookie_ends_and_is_another_one_each_time(
    keyed: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cookie() -> dict[str, str]:
        given = await ask(keyed, "cookie", **bearer(DESK))
        return UI | {"Cookie": given.headers["Set-Cookie"].partition(";")[0]}

    first, second = await cookie(), await cookie()
    assert first != second
    with monkeypatch.context() as early:
        early.setattr(keys, "CODEC_SECONDS", -1)
        over_already = await cookie()
    assert [(await ask(keyed, "decode", **sent)).status_code for sent in (first, second)] == [
        200
    ] * 2
    assert_problem(await ask(keyed, "decode", **over_already), 401)
    # Nobody who has it can make it last.
    end, _, signature = over_already["Cookie"].rpartition(".")
    lasting = end.replace("codec=", "codec=9") + "." + signature
    assert_problem(await ask(keyed, "decode", **UI | {"Cookie": lasting}), 401)


async def cookie_of(api: Api) -> str:
    given = await ask(api, "cookie", **bearer(DESK))
    return given.headers["Set-Cookie"].partition(";")[0]


async def test_the_cookie_goes_with_the_key(bookings: StandIn, keyed: Api) -> None:
    browser = Api(app_over(bookings, payload_keys=KEYS, api_keys=CALLERS).test_client())
    await ask(browser, "cookie", **bearer(DESK))
    assert (await ask(browser, "decode", **UI)).status_code == 200
    for foreign in (UI, *FOREIGN):
        assert_problem(await browser.call("DELETE", "/codec/cookie", headers=foreign), 403)
    assert (await ask(browser, "decode", **UI)).status_code == 200
    given = await ask(browser, "cookie", **bearer(DESK))
    copy = UI | {"Cookie": given.headers["Set-Cookie"].partition(";")[0]}
    another = UI | {"Cookie": await cookie_of(keyed)}
    # Also where the key is no longer good.
    assert (await browser.call("DELETE", "/codec/cookie")).status_code == 204
    assert_problem(await ask(browser, "decode", **UI), 401)
    # It is good nowhere else, either; other browsers keep theirs.
    assert_problem(await ask(keyed, "decode", **copy), 401)
    assert (await ask(keyed, "decode", **another)).status_code == 200
    assert (await ask(keyed, "decode", **copy, **bearer(DESK))).status_code == 200


@pytest.mark.parametrize(
    ("own", "ui", "secure"),
    [("http", "http", False), ("https", "http", True), ("http", "https", True)],
)
async def test_the_cookie_goes_over_no_line_in_clear_where_there_is_another(
    bookings: StandIn, own: str, ui: str, secure: bool
) -> None:
    api = over(bookings, payload_keys=KEYS, temporal_ui_url=f"{ui}://temporal.example")
    page = {"Origin": f"{own}://trips.example", "Sec-Fetch-Site": "same-origin"}
    given = await ask(api, "cookie", **page)
    assert ("Secure" in given.headers["Set-Cookie"].split("; ")) is secure


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Temporal.example:443/ui/", "https://temporal.example"),
        ("http://temporal.example:8080", "http://temporal.example:8080"),
    ],
)
async def test_the_web_uis_origin_is_that_of_its_url(
    bookings: StandIn, url: str, origin: str
) -> None:
    api = over(bookings, payload_keys=KEYS, temporal_ui_url=url)
    assert (await ask(api, "decode", Origin=origin)).status_code == 200
    assert_problem(await ask(api, "decode", Origin=f"{origin}1"), 403)
