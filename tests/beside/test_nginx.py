"""The service behind a real nginx, whose settings are its own unless a test says otherwise."""

import html
import json
import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared import KINDS
from tests.api.api_client import JOHN
from tests.api.serving import serving
from tests.api.stand_in import ODD_IDS, StandIn, app_over
from tests.beside.proxies import asked, path_of, proxy
from tests.processes import Process, free_port, service
from tests.test_end_to_end import documented_client

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(path_of("nginx") is None, reason="Debian's nginx is not installed"),
]


@contextmanager
def nginx(folder: Path, locations: str, port: int | None = None) -> Iterator[tuple[Process, int]]:
    """Run nginx in `folder` and yield it with its port."""
    port = port or free_port()
    site = f"server {{ listen 127.0.0.1:{port}; {locations} }}"
    with proxy("nginx", folder, port, site) as process:
        yield process, port


def before(port: int, settings: str = "") -> str:
    """Return what has nginx hand everything on to the service."""
    return f"location / {{ proxy_pass http://127.0.0.1:{port}; {settings} }}"


@pytest.mark.parametrize("host", ["", "proxy_set_header Host $host;"])
def test_a_form_is_taken_whatever_host_nginx_tells(tmp_path: Path, host: str) -> None:
    """Over plain HTTP a browser says of its form nothing but the page's `Origin`."""
    front = free_port()
    form = urllib.parse.urlencode(JOHN).encode()
    sent = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Origin": f"http://127.0.0.1:{front}",
    }
    for url, taken in ((f"http://127.0.0.1:{front}", True), (None, False)):
        app = app_over(StandIn(), public_url=url)
        with (
            serving(app) as port,
            nginx(tmp_path, before(port, host), front),
        ):
            status, body, _ = asked(front, "POST", "/trips", form, sent)
            assert status == (303 if taken else 403)
            assert taken or all(
                told in body["text"] for told in ("Host: ", sent["Origin"], "PUBLIC_URL")
            )


@pytest.mark.parametrize("slash", ["", "/"], ids=["path left", "path stripped"])
def test_all_links_lead_back_to_the_service_under_its_path(tmp_path: Path, slash: str) -> None:
    front = free_port()
    public = f"http://127.0.0.1:{front}/trips-app"
    bookings = StandIn()
    trip = bookings.add("booked")
    app = app_over(bookings, public_url=public)
    with (
        serving(app) as port,
        nginx(
            tmp_path,
            f"location /trips-app/ {{ proxy_pass http://127.0.0.1:{port}{slash}; }}",
            front,
        ),
    ):
        pages, seen = ["/trips-app/"], set[str]()
        while pages:
            page = pages.pop()
            status, body, _ = asked(front, "GET", page)
            assert status in (200, 204), page
            seen.add(page.partition("?")[0].removeprefix("/trips-app"))
            found = re.findall(r' (?:src|href|hx-get)="([^"#]+)[#"]', body.get("text", ""))
            for link in map(html.unescape, found):
                if link.startswith("http://localhost:8233/"):
                    continue
                assert link.startswith("/trips-app/")
                if link.partition("?")[0].removeprefix("/trips-app") not in seen:
                    pages.append(link)
        assert seen >= {"/", "/trips", "/docs", f"/trips/{trip.trip_id}", "/static/pages.css"}
        listed = asked(front, "GET", "/trips-app/bookings").body
        link = listed["bookings"][0]["links"]["self"]
        assert link == f"{public}/bookings/{trip.trip_id}"
        path = link.removeprefix(f"http://127.0.0.1:{front}")
        assert asked(front, "POST", f"{path}/cancel").body["status"] == "cancelled"


@pytest.mark.parametrize("size", [300_000, 1024 * 1024])
def test_a_body_that_is_too_long_is_refused_by_the_service(tmp_path: Path, size: int) -> None:
    app = app_over(StandIn())
    with (
        serving(app) as port,
        nginx(tmp_path, before(port)) as (_, front),
    ):
        answers = [asked(front, "POST", "/book", b"x" * size) for _ in range(40)]
    assert {(status, body["detail"]) for status, body, _ in answers} == {
        (413, "The body is over 16 KiB.")
    }


def test_trips_of_any_id_are_opened_by_their_links(tmp_path: Path) -> None:
    bookings = StandIn()
    for user_id in ODD_IDS:
        bookings.add("booked", trip_id=user_id)
    app = app_over(bookings)
    with serving(app) as port:
        with nginx(tmp_path, before(port)) as (_, front):
            page = asked(front, "GET", "/bookings").body
            for row in page["bookings"]:
                link = row["links"]["self"]
                assert asked(front, "GET", link).body["user_id"] == row["user_id"]
                assert asked(front, "POST", f"{link}/cancel").body["user_id"] == row["user_id"]
        # With a path behind the address nginx decodes the link.
        decoding = f"location / {{ proxy_pass http://127.0.0.1:{port}/; }}"
        with nginx(tmp_path, decoding) as (_, front):
            assert asked(front, "GET", "/bookings/a%2Fb").body["user_id"] == "a/b"


def test_the_documented_client_books_once_whatever_nginx_says(tmp_path: Path) -> None:
    # The service itself waits for longer than nginx does.
    with (
        service(HOTEL_LATENCY_SECONDS=5) as slow,
        nginx(tmp_path, before(slow.api_port, "proxy_read_timeout 1s;")) as (front, port),
    ):
        client = documented_client(slow, tmp_path, port)
        client.start()
        front.wait_for_output("connect() failed")  # 502
        slow.start()
        front.wait_for_output("upstream timed out")  # 504
        front.kill()
        slow.api.stop()
        front.start()
        slow.api.start()
        assert client.exit_code() == 0, client.output
        assert json.loads(client.output)["cancelled"] is False
        assert len(slow.rows()) == len(KINDS)
