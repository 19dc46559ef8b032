"""The service behind a real nginx, whose settings are its own unless a test says otherwise."""

import http.client
import json
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from api import server
from tests.api.api_client import JOHN, JSON
from tests.api.serving import serving
from tests.api.stand_in import StandIn, app_over
from tests.processes import Process, bare_environment, free_port, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="Debian's nginx is not installed"),
]

CONFIGURATION = """
user root;
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  server {{
    listen 127.0.0.1:{port};
    {locations}
  }}
}}
"""


@contextmanager
def nginx(folder: Path, locations: str) -> Iterator[tuple[Process, int]]:
    """Run nginx in `folder` and yield it with its port."""
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(CONFIGURATION.format(port=port, locations=locations))
    command = ["nginx", "-p", str(folder), "-c", str(file), "-e", "stderr"]
    process = Process("nginx", command, folder / "nginx.log", bare_environment())
    process.start()
    try:
        wait_until(lambda: not process.running or answers(port), "nginx answers")
        assert process.running, process.output
        yield process, port
    finally:
        process.kill()


def answers(port: int) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as line:
        try:
            line.request("GET", "/")
            line.getresponse()
        except OSError:
            return False
        return True


def before(port: int) -> str:
    """Return what has nginx hand everything on to the service."""
    return f"location / {{ proxy_pass http://127.0.0.1:{port}; }}"


def test_a_trip_of_over_a_minute_is_202_before_nginx_gives_up(tmp_path: Path) -> None:
    bookings = StandIn()
    bookings.becomes = "running"
    app = app_over(bookings, allow_anonymous=True)
    with (
        server.background_loop() as app.loop,
        serving(app) as port,
        nginx(tmp_path, before(port)) as (_, front),
        closing(http.client.HTTPConnection("127.0.0.1", front, timeout=90)) as line,
    ):
        line.request("POST", "/book", json.dumps(JOHN), JSON)
        answer = line.getresponse()
        assert (answer.status, json.loads(answer.read())["status"]) == (202, "running")
