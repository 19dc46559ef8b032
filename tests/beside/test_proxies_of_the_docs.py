"""What `docs/behind-a-proxy.md` says of each proxy, with its configuration as it stands there."""

import base64
import itertools
import json
import threading
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from api.server import SLOW_CLIENT_SECONDS
from bookings import TemporalUnavailable
from tests.api.api_client import JOHN, JSON
from tests.api.serving import serving
from tests.api.stand_in import ODD_IDS, StandIn, app_over
from tests.beside.proxies import PROGRAMS, Answered, asked, path_of, proxy
from tests.processes import DEADLINE, Process, Service, free_port, service, wait_until
from tests.test_end_to_end import blocks_of

pytestmark = pytest.mark.slow

SITE = "trips.example.com"
PUBLIC = f"http://{SITE}"
HERE = {"Host": SITE}
KEY = "0123456789abcdef"
WITH_KEY = HERE | {"Authorization": f"Bearer {KEY}"}
BOOKING = json.dumps(JOHN).encode()
LISTENS = {"nginx": "listen 80;", "haproxy": "bind :80\n", "apache": "<VirtualHost *:80>"}
"""Where each configuration names its port. Caddy has an option for that."""


def installed(name: str) -> object:
    """Return the program as a test's parameter."""
    missing = pytest.mark.skipif(path_of(name) is None, reason=f"{name} is not installed")
    return pytest.param(name, marks=missing)


EACH = pytest.mark.parametrize("name", [*map(installed, PROGRAMS)])

ALL = pytest.mark.skipif(not all(map(path_of, PROGRAMS)), reason="one of them is not installed")
WAITING = 450


def served_at(front: int, name: str, site: str, apis: tuple[int, int]) -> str:
    """Return the documented site with other ports."""
    for written, real in zip((3000, 3001), apis, strict=True):
        site = site.replace(f"127.0.0.1:{written}", f"127.0.0.1:{real}")
    listens = LISTENS.get(name, "")
    assert listens in site
    return site.replace(listens, listens.replace("80", str(front))) if listens else site


@contextmanager
def documented(name: str, folder: Path, apis: tuple[int, int]) -> Iterator[int]:
    """Run the documented proxy before APIs at the two ports, and yield its own port."""
    *limits, site = blocks_of("docs/behind-a-proxy.md", name)[:2]
    front = free_port()
    with proxy(name, folder, front, served_at(front, name, site, apis), "".join(limits)):
        yield front


@contextmanager
def two_apis(bookings: StandIn, threads: int = 2, **settings: Any) -> Iterator[tuple[int, int]]:
    """Serve the API twice and yield the ports."""
    app = app_over(bookings, public_url=PUBLIC, **settings)
    with serving(app, threads=threads) as one, serving(app, threads=threads) as two:
        yield one, two


def status_of(answer: Answered) -> tuple[int, bool]:
    """Return the status of an answer, and whether it is the service's own."""
    return answer.status, answer.headers.get("answered-by") == "trip-booking"


@EACH
def test_answers_of_the_service_pass_as_they_are(name: str, tmp_path: Path) -> None:
    bookings = StandIn()
    with (
        two_apis(bookings, api_keys=f"shop:{KEY}:operator") as ports,
        documented(name, tmp_path, ports) as front,
    ):
        booked = asked(front, "POST", "/book", BOOKING, WITH_KEY | JSON)
        assert status_of(booked) == (200, True)
        missing = asked(front, "GET", "/bookings/nobody", headers=WITH_KEY)
        assert (status_of(missing), missing.body["status"]) == ((404, True), 404)
        refused = asked(front, "GET", "/bookings", headers=HERE)
        assert status_of(refused) == (401, True)
        assert refused.headers["www-authenticate"].startswith("Bearer")
        bookings.fails = TemporalUnavailable("Temporal is away")
        away = asked(front, "POST", "/book", BOOKING, WITH_KEY | JSON)
        assert (status_of(away), "retry-after" in away.headers) == ((503, True), True)
        assert "Temporal cannot be reached" in away.body["detail"]


@EACH
def test_a_long_body_is_refused_by_the_service(name: str, tmp_path: Path) -> None:
    with (
        two_apis(StandIn(), api_keys=f"shop:{KEY}") as ports,
        documented(name, tmp_path, ports) as front,
    ):
        ask = partial(asked, front, "POST", "/book", headers=WITH_KEY | JSON)
        assert {status_of(ask(b"x" * 500_000)) for _ in range(20)} == {(413, True)}
        assert {status_of(ask(b"x" * 1024 * 1024)) for _ in range(5)} == {(413, True)}


@EACH
def test_forms_are_taken_of_the_public_url_and_of_no_other(name: str, tmp_path: Path) -> None:
    sent = HERE | {"Content-Type": "application/x-www-form-urlencoded"}
    form = urllib.parse.urlencode(JOHN).encode()
    with (
        two_apis(StandIn(), allow_anonymous=True) as ports,
        documented(name, tmp_path, ports) as front,
    ):
        for origin, status in ((PUBLIC, 303), ("http://elsewhere.example", 403)):
            answer = asked(front, "POST", "/trips", form, sent | {"Origin": origin})
            assert status_of(answer) == (status, True)


@EACH
def test_an_api_without_keys_notices_that_it_is_published(name: str, tmp_path: Path) -> None:
    with two_apis(StandIn()) as ports, documented(name, tmp_path, ports) as front:
        answer = asked(front, "GET", "/bookings", headers=HERE)
        assert status_of(answer) == (403, True)
        assert f"Host: {SITE}" in answer.body["detail"]


@EACH
def test_trips_of_any_id_are_found(name: str, tmp_path: Path) -> None:
    bookings = StandIn()
    for user_id in ODD_IDS:
        bookings.add("booked", trip_id=user_id)
    with (
        two_apis(bookings, api_keys=f"shop:{KEY}:operator") as ports,
        documented(name, tmp_path, ports) as front,
    ):
        for user_id in ODD_IDS:
            link = f"/bookings/{urllib.parse.quote(user_id, safe='')}"
            assert asked(front, "GET", link, headers=WITH_KEY).body.get("user_id") == user_id


class Upstream(ThreadingHTTPServer):
    """Stands in for the API where a test says when an answer comes, or when a connection closes."""

    request_queue_size = 1024
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing: a proxy may reset a connection."""


@contextmanager
def upstreams(handler: type[BaseHTTPRequestHandler]) -> Iterator[tuple[int, int]]:
    """Serve two upstreams and yield their ports."""
    with Upstream(("127.0.0.1", 0), handler) as one, Upstream(("127.0.0.1", 0), handler) as two:
        for each in (one, two):
            threading.Thread(target=each.serve_forever, daemon=True).start()
        yield one.server_port, two.server_port
        for each in (one, two):
            each.shutdown()


class Handler(BaseHTTPRequestHandler):
    """Answers every request, and keeps the connection."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """Answer, when the body has come."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        """Answer."""
        self.answer()

    def do_POST(self) -> None:
        """Answer."""
        self.answer()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class ClosesWhatIsIdle(Handler):
    """Closes a connection when a request comes after a pause, as an API may whose time is over."""

    answered_at = float("inf")

    def do_POST(self) -> None:
        """Answer the first request, and each that follows soon."""
        if time.monotonic() - self.answered_at > SLOW_CLIENT_SECONDS - 5:
            self.close_connection = True
            return
        self.answer()
        self.answered_at = time.monotonic()


def status_after_a_pause(name: str, folder: Path) -> set[int]:
    """Return what requests get for which idle connections could be used again."""
    with upstreams(ClosesWhatIsIdle) as ports, documented(name, folder, ports) as front:
        ask = partial(asked, front, "POST", "/book", b"{}", HERE)
        assert {ask().status for _ in range(8)} == {200}
        time.sleep(SLOW_CLIENT_SECONDS - 3)  # The pause itself.
        return {ask().status for _ in range(8)}


def status_of_a_long_trip(front: AbstractContextManager[int]) -> int:
    """Return what a request gets whose trip takes longer than the API waits."""
    with front as port:
        answer = asked(port, "POST", "/book", BOOKING, HERE | JSON)
        return answer.status if status_of(answer)[1] else 0


@contextmanager
def as_it_comes(name: str, folder: Path, api: int) -> Iterator[int]:
    """Run a proxy that is told nothing but where the API is, and yield its port."""
    front = free_port()
    here, there = f"127.0.0.1:{front}", f"127.0.0.1:{api}"
    site = {
        "nginx": f"server {{ listen {here}; location / {{ proxy_pass http://{there}; }} }}",
        "haproxy": f"listen trips\n bind {here}\n server one {there}\n",
        "caddy": f"http://:{front} {{\n reverse_proxy {there}\n}}",
        "apache": f"ProxyPass / http://{there}/",
    }[name]
    with proxy(name, folder, front, site):
        yield front


@ALL
def test_a_trip_of_over_a_minute_is_202_and_idle_connections_fail_nobody(tmp_path: Path) -> None:
    """All at once, because each takes half a minute."""
    bookings = StandIn()
    bookings.becomes = "running"
    folders = {name: [tmp_path / f"{name}-{i}" for i in range(3)] for name in PROGRAMS}
    for folder in itertools.chain(*folders.values()):
        folder.mkdir()
    with (
        two_apis(bookings, threads=16, allow_anonymous=True) as ports,
        ThreadPoolExecutor(3 * len(folders)) as run,
    ):
        asked_for = {
            name: (
                run.submit(status_of_a_long_trip, documented(name, own[0], ports)),
                run.submit(status_of_a_long_trip, as_it_comes(name, own[1], ports[0])),
                run.submit(status_after_a_pause, name, own[2]),
            )
            for name, own in folders.items()
        }
        seen = {name: [each.result() for each in told] for name, told in asked_for.items()}
    assert seen == {name: [202, 202, {200}] for name in PROGRAMS}


@EACH
def test_bookings_that_wait_leave_room_for_others(name: str, tmp_path: Path) -> None:
    """By Debian's files a process of nginx has room for 360 of them, and Apache for 150."""
    over, waiting = threading.Event(), itertools.count(1)
    reached = threading.Event()

    class Waits(Handler):
        def do_POST(self) -> None:
            if next(waiting) == WAITING:
                reached.set()
            over.wait()
            self.answer()

    with (
        ThreadPoolExecutor(WAITING) as threads,
        upstreams(Waits) as ports,
        documented(name, tmp_path, ports) as front,
    ):
        ask = partial(asked, front, headers=HERE)
        try:
            answers = [threads.submit(ask, "POST", "/book", b"{}") for _ in range(WAITING)]
            assert reached.wait(DEADLINE)
            assert ask("GET", "/livez").status == 200
        finally:
            over.set()
        assert {answer.result().status for answer in answers} == {200}


class Real(NamedTuple):
    """A service with two API processes."""

    service: Service
    apis: dict[int, Process]
    """By port."""


@pytest.fixture(scope="module")
def real() -> Iterator[Real]:
    second = free_port()
    with service(API_KEYS=f"shop:{KEY}:operator", PUBLIC_URL=PUBLIC) as started:
        apis = {
            started.api_port: started.api,
            second: started.python("api-2", "starter.py", PORT=str(second)),
        }
        started.start()
        apis[second].start()
        yield Real(started, apis)


def until_ready(port: int) -> None:
    """Wait until the API at the port can book."""

    def ready() -> bool:
        with suppress(OSError):
            return asked(port, "GET", "/readyz").status == 200
        return False

    wait_until(ready, f"the API at {port} is ready")


@EACH
def test_a_booking_whose_api_dies_is_not_sent_to_another(
    name: str, tmp_path: Path, real: Real
) -> None:
    one, two = real.apis
    [worker, _] = real.service.workers
    for port, api in real.apis.items():
        if not api.running:  # A test before has failed.
            api.start()
        until_ready(port)
    with documented(name, tmp_path, (one, two)) as front, ThreadPoolExecutor(1) as thread:

        def book() -> Answered | None:
            """Book without a key, and return the answer, if there is one."""
            with suppress(OSError, HTTPException):
                return asked(front, "POST", "/book", BOOKING, WITH_KEY | JSON)
            return None

        def told_by(port: int, metric: str) -> bool:
            return metric in asked(port, "GET", "/metrics", headers=WITH_KEY).body["text"]

        def waiting_at(port: int) -> bool:
            return told_by(port, 'booking_places_in_use{place="wait"} 1.0')

        def has_booked(port: int) -> bool:
            return not told_by(port, "booking_trips_accepted_total 0.0")

        def trips() -> int:
            [alive] = [port for port, api in real.apis.items() if api.running][:1]
            listed = asked(alive, "GET", "/bookings?limit=100", headers=WITH_KEY)
            return len(listed.body["bookings"])

        booked = book()
        assert booked is not None
        assert (status_of(booked), booked.body["cancelled"]) == ((200, True), False)
        wait_until(lambda: not any(map(waiting_at, real.apis)), "no request waits any more")
        before = trips()

        worker.freeze()
        keyless = thread.submit(book)
        try:
            wait_until(lambda: any(map(waiting_at, real.apis)), "the trip is waited for")
            wait_until(lambda: trips() > before, "the trip is accepted")
            dying = next(filter(waiting_at, real.apis))
            real.apis[dying].kill()
            answer = keyless.result()
        finally:
            worker.thaw()
        assert answer is None or status_of(answer) == (502, False)
        assert trips() == before + 1
        assert [told and told.status for told in (book(), book(), book(), book())] == [200] * 4

        # Of two APIs that were away each is asked as soon as it is back.
        living = two if dying == one else one
        real.apis[living].kill()
        answer = book()
        assert answer is not None
        assert not status_of(answer)[1]
        for port, api in real.apis.items():
            api.start()
            until_ready(port)
        assert [told and told.status for told in (book(), book())] == [200] * 2

        def both_have_booked() -> bool:
            book()
            return all(map(has_booked, real.apis))

        # Apache, by itself, would ask one of them only, for a minute.
        wait_until(both_have_booked, "both have booked since", deadline=30)


@pytest.mark.skipif(path_of("haproxy") is None, reason="haproxy is not installed")
def test_an_api_that_is_not_ready_is_asked_if_no_other_is(tmp_path: Path) -> None:
    bookings = StandIn()
    with (
        two_apis(bookings, allow_anonymous=True) as ports,
        documented("haproxy", tmp_path, ports) as front,
    ):
        bookings.obstacle = "No worker polls"
        log = tmp_path / "haproxy.log"

        def nobody_is_ready() -> bool:
            told = log.read_text()
            return all(f"Server trips/{server} is DOWN" in told for server in ("one", "two"))

        wait_until(nobody_is_ready, "HAProxy takes both for down")
        assert status_of(asked(front, "GET", "/bookings", headers=HERE)) == (200, True)
        assert asked(front, "GET", "/readyz", headers=HERE).body["detail"] == bookings.obstacle


@pytest.mark.skipif(path_of("nginx") is None, reason="nginx is not installed")
def test_a_login_at_the_proxy_becomes_a_key(tmp_path: Path) -> None:
    _, site, login = blocks_of("docs/behind-a-proxy.md", "nginx")
    users = tmp_path / "users"
    users.write_text("ada:{PLAIN}lovelace\n")
    login = login.replace("/etc/nginx/trips.htpasswd", str(users))
    login = login.replace("…", KEY)
    ada = HERE | {"Authorization": f"Basic {base64.b64encode(b'ada:lovelace').decode()}"}
    without_key = "\n".join(login.splitlines()[:-1])
    keys = {"api_keys": f"shop:{KEY}"}
    for settings, lines, seen in (
        (keys, login, (200, True)),
        (keys, without_key, (401, True)),
        ({"allow_anonymous": True}, without_key, (200, True)),
    ):
        front = free_port()
        with two_apis(StandIn(), **settings) as ports:
            own = served_at(
                front, "nginx", site.replace("location / {", "location / {" + lines), ports
            )
            with proxy("nginx", tmp_path, front, own):
                assert status_of(asked(front, "GET", "/bookings", headers=HERE)) == (401, False)
                assert status_of(asked(front, "GET", "/bookings", headers=ada)) == seen
