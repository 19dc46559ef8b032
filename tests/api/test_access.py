"""Who may call, how much at once, and what every answer carries."""

import base64
import hmac
import re

import pytest
from pydantic import SecretStr, ValidationError

from api import key_needed
from api.keys import CallerKey, authenticate, keys_of, owners_of
from bookings import Caller
from settings import Settings
from tests.api.api_client import JOHN, Api, assert_problem, body_of, listed
from tests.api.stand_in import StandIn, app_over, over

NAMES = ("old", "new", "other", "desk", "prometheus")
OLD, NEW, OTHER, DESK, SCRAPER = (f"secret-of-{name:-<16}" for name in NAMES)
KEYS = f"shop:{OLD}, shop:{NEW},other:{OTHER},desk:{DESK}:operator"
PAYLOAD_KEYS = f"new:{base64.b64encode(bytes(32)).decode()}"


@pytest.fixture
def api(bookings: StandIn) -> Api:
    return over(bookings, api_keys=KEYS)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", f"Basic {OLD}", OLD, f"Bearer {OLD}x", "Bearer \u00e9"],
)
async def test_without_a_good_key_only_what_tells_of_no_trip_is_answered(
    api: Api, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for path in ("/bookings", "/bookings/x", "/nowhere"):
        response = await api.get(path, headers=headers)
        assert response.status_code == 401, response.text
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    for path in ("/livez", "/readyz", "/openapi.json"):
        assert (await api.get(path, headers=headers)).status_code == 200


async def test_a_caller_sees_lists_and_cancels_only_its_own_trips(api: Api) -> None:
    booked = body_of(await api.book(JOHN, **bearer(OLD)))
    path = f"/bookings/{booked['user_id']}"
    for key in (OLD, NEW, DESK):  # The same caller with its new key; an operator.
        assert (await api.get(path, headers=bearer(key))).status_code == 200
    assert_problem(await api.get(path, headers=bearer(OTHER)), 404)
    assert_problem(await api.call("POST", f"{path}/cancel", headers=bearer(OTHER)), 404)
    assert_problem(await api.call("POST", f"{path}/undo/car/retry", headers=bearer(OLD)), 403)
    assert_problem(await api.call("POST", f"{path}/undo/car/retry", headers=bearer(DESK)), 409)
    for key in (NEW, DESK):
        rows = await listed(api, bearer(key))
        assert [(row["user_id"], row["status"]) for row in rows] == [(booked["user_id"], "booked")]
    assert await listed(api, bearer(OTHER)) == []
    assert (await api.call("POST", f"{path}/cancel", headers=bearer(DESK))).status_code == 200
    (action,) = body_of(await api.get(path, headers=bearer(NEW)))["actions"]
    assert (action["caller"], action["action"], action["kind"]) == ("desk", "cancel", None)


async def test_a_key_of_metrics_reads_the_metrics_and_nothing_else(bookings: StandIn) -> None:
    """Whatever is added to the API: a stolen one tells of no trip, cancels and decodes nothing."""
    keys = {"api_keys": f"{KEYS},prometheus:{SCRAPER}:metrics", "payload_keys": PAYLOAD_KEYS}
    app, trip = app_over(bookings, **keys), bookings.add("booked", owner="prometheus")
    api, asked = Api(app.test_client()), set()
    for rule in app.url_map.iter_rules():
        if key_needed(app.view_functions[rule.endpoint]) == "never":
            continue
        values = {"user_id": trip.trip_id, "kind": "car", "filename": "x"}
        path = rule.rule
        for name, value in values.items():
            path = re.sub(rf"<(\w+:)?{name}>", value, path)
        for method in (rule.methods or set()) - {"OPTIONS"}:
            answer = await api.call(method, path, headers=bearer(SCRAPER))
            asked.add((method, path, answer.status_code))
            if rule.endpoint != "api.metrics":
                assert answer.status_code in (403, 405), (method, path)
    assert ("GET", "/metrics", 200) in asked
    assert len(asked) > 10
    assert {("POST", "/codec/decode", 403), ("GET", "/bookings", 403)} <= asked
    assert bookings.trips[trip.trip_id].status == "booked"
    assert_problem(await api.get("/nowhere", headers=bearer(SCRAPER)), 403)


def test_a_key_of_metrics_takes_no_share_from_those_who_book() -> None:
    keys = keys_of(SecretStr(f"shop:{OLD},prometheus:{SCRAPER}:metrics"))
    assert owners_of(keys) == {"shop"}
    assert owners_of([]) == {"anonymous"}


async def test_two_callers_may_use_the_same_idempotency_key(api: Api) -> None:
    answers = [
        body_of(await api.book(JOHN, Idempotency_Key="same", **bearer(key)))["user_id"]
        for key in (OLD, NEW, OTHER)
    ]
    assert answers[0] == answers[1] != answers[2]


@pytest.mark.parametrize("presented", [OLD, DESK, "wrong"])
def test_every_key_is_compared_in_constant_time(
    monkeypatch: pytest.MonkeyPatch, presented: str
) -> None:
    """How long an answer takes tells neither how much of a key was right nor which it was."""
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    keys = [CallerKey(Caller(f"of-{key}", operator=False), key) for key in (OLD, NEW, DESK)]
    found = authenticate(f"Bearer {presented}", keys)
    assert compared == [(presented.encode(), key.encode()) for key in (OLD, NEW, DESK)]
    assert (found and found.name) == (None if presented == "wrong" else f"of-{presented}")


async def test_a_secret_may_have_any_visible_ascii_but_comma_and_colon(bookings: StandIn) -> None:
    secrets = "1|abcdefghijklmnop", "".join({chr(c) for c in range(0x21, 0x7F)} - {",", ":"})
    keyed = over(bookings, api_keys=",".join(f"shop:{secret}" for secret in secrets))
    for secret in secrets:
        assert (await keyed.get("/bookings", headers=bearer(secret))).status_code == 200


def test_keys_are_read_from_their_setting() -> None:
    keys = keys_of(Settings.model_validate({"api_keys": KEYS}).api_keys)
    assert keys[0] == CallerKey(Caller("shop", operator=False), OLD)
    assert keys[3] == CallerKey(Caller("desk", operator=True), DESK)
    assert OLD not in repr(keys)
    (reader,) = keys_of(SecretStr(f"prometheus:{SCRAPER}:metrics"))
    assert reader.caller == Caller("prometheus", operator=False, metrics_only=True)


@pytest.mark.parametrize("blank", ["", " ", ",", " ,\t,"])
def test_a_blank_setting_has_no_keys_and_opens_nothing(blank: str) -> None:
    assert keys_of(SecretStr(blank)) == []
    with pytest.raises(ValidationError, match="HOST: without API_KEYS"):
        Settings.model_validate({"host": "0.0.0.0", "api_keys": blank})


@pytest.mark.parametrize(
    "key",
    ["shop", "shop:short", f":{OLD}", f"a b:{OLD}", f"shop:{OLD}:admin", f"shop={OLD}", OLD],
)
def test_a_bad_key_stops_the_process_without_being_shown(key: str) -> None:
    with pytest.raises(SystemExit, match=r"^Bad setting API_KEYS: key 2 must be ") as stopped:
        keys_of(SecretStr(f"shop:{NEW},{key}"))
    assert OLD not in str(stopped.value)


def test_without_keys_it_listens_on_loopback_only() -> None:
    for loopback in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        assert Settings(host=loopback).host == loopback
    for host in ("0.0.0.0", "10.0.0.1", "::", "example.org"):
        with pytest.raises(ValidationError, match="HOST: without API_KEYS"):
            Settings(host=host)
