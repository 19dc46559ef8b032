"""nginx, HAProxy, Caddy and Apache httpd, as Debian has them, before the service.

Their settings are their own, but for what a test says, for files and ports, and for running in the
foreground.
"""

import http.client
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.api.api_client import JSON
from tests.processes import Process, bare_environment, wait_until

NGINX = """
user root;
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {{ {limits} }}
http {{
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  {site}
}}
"""

CADDY = """{{
  admin off
  http_port {port}
}}
{site}"""

APACHE = """
ServerRoot /usr/lib/apache2
ServerName localhost
DefaultRuntimeDir {folder}
PidFile {folder}/apache2.pid
ErrorLog /dev/stderr
User www-data
Group www-data
{modules}
{limits}
Listen 127.0.0.1:{port}
{site}
"""

APACHE_MODULES = (
    *("mpm_event", "authz_core", "headers", "slotmem_shm"),
    *("proxy", "proxy_http", "proxy_balancer", "lbmethod_byrequests"),
)


def _haproxy(limits: str, site: str, **_: object) -> str:
    _before, word, settings = Path("/etc/haproxy/haproxy.cfg").read_text().partition("\ndefaults\n")
    return f"global\n{limits}{word}{settings}\n{site}"


def _apache(limits: str, site: str, folder: Path, port: int) -> str:
    modules = "\n".join(
        f"LoadModule {each}_module modules/mod_{each}.so" for each in APACHE_MODULES
    )
    return APACHE.format(limits=limits, site=site, folder=folder, port=port, modules=modules)


class Program(NamedTuple):
    """A proxy's program."""

    command: str
    options: str
    configuration: Callable[..., str]
    """Takes `limits`, `site`, `folder` and `port`."""


PROGRAMS = {
    "nginx": Program("nginx", "-p {folder} -c {file} -e stderr", NGINX.format),
    "haproxy": Program("haproxy", "-db -f {file}", _haproxy),
    "caddy": Program("caddy", "run --adapter caddyfile --config {file}", CADDY.format),
    "apache": Program("apache2", "-DFOREGROUND -f {file}", _apache),
}


def path_of(name: str) -> str | None:
    """Return where the program is, `None` if it is not installed."""
    places = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
    return shutil.which(PROGRAMS[name].command, path=places)


@contextmanager
def proxy(name: str, folder: Path, port: int, site: str, limits: str = "") -> Iterator[Process]:
    """Run a proxy in `folder` until the block ends. `site` has it listen at `port`."""
    program = PROGRAMS[name]
    file = folder / f"{name}.conf"
    file.write_text(program.configuration(limits=limits, site=site, folder=folder, port=port))
    options = program.options.format(folder=folder, file=file).split()
    # Caddy keeps what it stores in its user's home.
    home = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    command = [str(path_of(name)), *options]
    process = Process(name, command, folder / f"{name}.log", bare_environment() | home)
    process.start()
    try:
        wait_until(lambda: not process.running or _listens(port), f"{name} listens")
        assert process.running, process.output
        yield process
    finally:
        process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


class Answered(NamedTuple):
    """An answer, whoever gave it."""

    status: int
    body: dict[str, Any]
    """The JSON; what is no JSON stands under `text`."""
    headers: dict[str, str]
    """By lower-case name."""


def asked(
    port: int, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] = JSON
) -> Answered:
    """Return what is answered at the port. Raises `OSError` or `HTTPException` if nothing is."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=90)) as line:
        line.request(method, path, body, dict(headers))
        answer = line.getresponse()
        content = answer.read().decode()
    told = {name.lower(): value for name, value in answer.getheaders()}
    known = json.loads(content) if content.startswith("{") else {"text": content}
    return Answered(answer.status, known, told)
