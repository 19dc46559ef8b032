"""Suppliers behind real web servers: what these answer by themselves, and how they treat a line."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from record import Record
from settings import load_settings
from suppliers import Confirmed, OutcomeUnknown, Refused, Released, Try, compose
from tests.beside.servers import APACHE, SERVERS, started
from tests.beside.test_nginx import nginx
from tests.connection.secured import Authority
from tests.processes import ROOT, Process, bare_environment, free_port
from tests.record import trips
from tests.simulator.simulated import Simulator
from tests.suppliers.over_http.raw_service import TOKEN, call, hotels_at
from tests.suppliers.script import trip

MISSING = [program for program, path in SERVERS.items() if path is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"{MISSING}, which .ci/run installs, are missing"),
]

LIGHTTPD = """
server.bind = "127.0.0.1"
server.port = {port}
server.document-root = "{folder}"
"""

CADDY = """
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
  respond /elsewhere/* "hotels"
}}
"""


def apache(folder: Path) -> AbstractContextManager[int]:
    return started(folder, "apache2", APACHE, "-D", "FOREGROUND", "-f")


def lighttpd(folder: Path) -> AbstractContextManager[int]:
    return started(folder, "lighttpd", LIGHTTPD, "-D", "-f")


def caddy(folder: Path) -> AbstractContextManager[int]:
    return started(folder, "caddy", CADDY, "run", "--adapter", "caddyfile", "--config")


def nginx_that(says: str) -> Callable[[Path], AbstractContextManager[int]]:
    @contextmanager
    def run(folder: Path) -> Iterator[int]:
        with nginx(folder, f"location / {{ {says} }}") as (_, port):
            yield port

    return run


@contextmanager
def nginx_with_tls(folder: Path) -> Iterator[int]:
    certificate, key = Authority(folder, "authority").issue("hotels")
    port = free_port()
    tls = f"ssl_certificate {certificate}; ssl_certificate_key {key};"
    with nginx(folder, f"}} server {{ listen 127.0.0.1:{port} ssl; {tls}"):
        yield port


def before(program: str, folder: Path, behind: str) -> AbstractContextManager[int]:
    """Run a web server before a supplier, set up as docs/suppliers.md says."""
    match program:
        case "nginx":
            return nginx_that(f"proxy_pass {behind};")(folder)
        case "apache2":
            modules = "".join(
                f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
                for name in ("proxy", "proxy_http")
            )
            proxied = f"AllowEncodedSlashes NoDecode\nProxyPass / {behind}/ nocanon\n"
            return started(folder, program, APACHE + modules + proxied, "-D", "FOREGROUND", "-f")
        case "lighttpd":
            host, _, port = behind.removeprefix("http://").partition(":")
            proxied = (
                'server.modules = ("mod_proxy")\n'
                'server.http-parseopts = ("url-normalize" => "disable")\n'
                f'proxy.server = ("" => (("host" => "{host}", "port" => {port})))\n'
            )
            return started(folder, program, LIGHTTPD + proxied, "-D", "-f")
    proxied = CADDY.replace('respond /elsewhere/* "hotels"', f"reverse_proxy {behind}")
    return started(folder, program, proxied, "run", "--adapter", "caddyfile", "--config")


ANSWERING_THEMSELVES = {
    "nginx without the route": (nginx_that("root /nowhere;"), {404, 405}),
    "nginx that has nothing to say": (nginx_that("return 200;"), {200}),
    "nginx under maintenance": (
        nginx_that("default_type text/html; return 200 '<h1>Back soon</h1>';"),
        {200},
    ),
    "nginx as a firewall": (nginx_that("deny all;"), {403}),
    "nginx with a limit": (
        nginx_that("client_max_body_size 1; proxy_pass http://127.0.0.1:9;"),
        {413, 502},
    ),
    "nginx with TLS": (nginx_with_tls, {400}),
    "Apache": (apache, {403, 405}),
    "lighttpd": (lighttpd, {404, 405, 501}),
    "Caddy without the route": (caddy, {200}),
}


@pytest.mark.parametrize(
    ("server", "statuses"), ANSWERING_THEMSELVES.values(), ids=ANSWERING_THEMSELVES
)
async def test_what_a_web_server_answers_by_itself_says_nothing_of_a_booking(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    server: Callable[[Path], AbstractContextManager[int]],
    statuses: set[int],
) -> None:
    with server(tmp_path) as port:
        async with hotels_at(f"http://127.0.0.1:{port}/v1", TOKEN) as hotels:
            for method in ("PUT", "GET", "DELETE"):
                caplog.clear()
                outcome = await call(hotels, method, trip())
                assert type(outcome) is OutcomeUnknown
                assert any(str(status) in caplog.text for status in statuses), caplog.text
                assert "TOKEN" not in caplog.text


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    served = Simulator(tmp_path / "suppliers.db", slow_seconds=0.2)
    await served.start()
    yield served
    await served.stop()


async def test_the_calls_that_are_too_many_for_a_supplier_wait_their_turn(
    tmp_path: Path, simulator: Simulator, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, behind = free_port(), simulator.server.make_url("/")
    limited = (
        f"}} limit_conn_zone $server_addr zone=all:1m; server {{ listen 127.0.0.1:{port};"
        f"location / {{ limit_conn all 5; proxy_pass {behind}; }}"
    )
    monkeypatch.setenv("HOTEL_SUPPLIER_URL", f"http://127.0.0.1:{port}/hotels")
    monkeypatch.setenv("HOTEL_SUPPLIER_CONNECTIONS", "5")
    composed = compose(record, load_settings())
    slow = [trips.with_item("hotel", "slow-hotel", f"trip-{number}") for number in range(25)]

    with nginx(tmp_path, limited):
        booking = (composed.desks["hotel"].book(each, Try()) for each in slow)
        booked = await asyncio.gather(*booking, return_exceptions=True)
    assert all(isinstance(each, Confirmed) for each in booked)
    await composed.close()


@contextmanager
def gunicorn(folder: Path) -> Iterator[int]:
    """Run a supplier behind gunicorn's threads, which close a connection after two idle seconds."""
    port = free_port()
    module = [sys.executable, "-m", "gunicorn", "--chdir", str(ROOT), "tests.beside.hotel"]
    options = [
        "--worker-class=gthread",
        "--threads=60",
        "--keep-alive=2",
        f"--bind=127.0.0.1:{port}",
    ]
    process = Process("gunicorn", module + options, folder / "gunicorn.log", bare_environment())
    process.start()
    try:
        process.wait_for_output("Booting worker")
        yield port
    finally:
        process.stop()


@contextmanager
def nginx_of_two_seconds(folder: Path) -> Iterator[int]:
    with gunicorn(folder) as behind:
        proxied = f"location / {{ proxy_pass http://127.0.0.1:{behind}; }}"
        with nginx(folder, f"keepalive_timeout 2s; {proxied}") as (_, port):
            yield port


@pytest.mark.parametrize(("server", "latest"), [(gunicorn, 3.2), (nginx_of_two_seconds, 2.1)])
async def test_no_call_is_lost_with_a_server_that_closes_idle_connections_soon(
    tmp_path: Path, server: Callable[[Path], AbstractContextManager[int]], latest: float
) -> None:
    lines = 50
    with server(tmp_path) as port:
        async with hotels_at(f"http://127.0.0.1:{port}/hotels") as hotels:

            async def calls(number: int) -> list[object]:
                heard = []
                for turn in range(4):
                    wanted = trip(f"trip-{number}-{turn}")
                    heard.append(await call(hotels, "PUT", wanted))
                    await asyncio.sleep(1.9 + (latest - 1.9) * number / lines)
                return heard

            told = await asyncio.gather(*(calls(number) for number in range(lines)))
    assert all(isinstance(each, Confirmed) for heard in told for each in heard)


ODD_IDS = ["a/b", "two words", "%2F", "Zoë-満室-🏨", "a?b#c;d:e"]


@pytest.mark.parametrize("program", SERVERS)
async def test_a_server_that_is_set_up_as_documented_leaves_everything_alone(
    tmp_path: Path, simulator: Simulator, program: str
) -> None:
    behind = str(simulator.server.make_url("/")).rstrip("/")
    with before(program, tmp_path, behind) as port:
        async with hotels_at(f"http://127.0.0.1:{port}/hotels") as hotels:
            for trip_id in ODD_IDS:
                wanted = trip(trip_id, book_hotel_id=" Hôtel <b>&amp;</b> %2F \u2028e\u0301 ")
                confirmed = await call(hotels, "PUT", wanted)
                assert isinstance(confirmed, Confirmed)
                assert await call(hotels, "GET", wanted) == confirmed
                assert await call(hotels, "DELETE", wanted) == Released()
                assert type(await call(hotels, "PUT", wanted)) is Refused
    assert {row.trip_id for row in simulator.suppliers.rows()} == set(ODD_IDS)


async def test_the_documented_sidecar_shows_a_client_certificate(
    tmp_path: Path, simulator: Simulator
) -> None:
    authority = Authority(tmp_path, "authority")
    certificate, key = authority.issue("hotels")
    shown, own_key = authority.issue("trips")
    tls, side = free_port(), free_port()
    supplier = (
        f"}} server {{ listen 127.0.0.1:{tls} ssl; ssl_certificate {certificate};"
        f"ssl_certificate_key {key}; ssl_client_certificate {authority.path};"
        "ssl_verify_client on;"
        f"location / {{ proxy_pass {simulator.server.make_url('/')}; }} }}"
    )
    _, _, documented = (ROOT / "docs/suppliers.md").read_text().partition("```nginx\n")
    sidecar, _, _ = documented.partition("\n}\n```")
    for written, here in {
        "3443": str(side),
        "https://hotels.example;": f"https://127.0.0.1:{tls}; proxy_ssl_name localhost;",
        "/etc/trips/client.pem": str(shown),
        "/etc/trips/client.key": str(own_key),
        "/etc/ssl/certs/ca-certificates.crt": str(authority.path),
    }.items():
        assert written in sidecar
        sidecar = sidecar.replace(written, here)
    with nginx(tmp_path, supplier + sidecar):
        async with hotels_at(f"http://127.0.0.1:{side}/hotels") as hotels:
            assert isinstance(await call(hotels, "PUT", trip()), Confirmed)
