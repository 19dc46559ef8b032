"""The way to a supplier through a company's proxy: the one that curl takes, and Apache as one."""

import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import aiohttp.connector
import pytest

from suppliers import HttpSupplier
from tests.beside.servers import APACHE, SERVERS, started
from tests.connection.secured import Authority
from tests.processes import bare_environment
from tests.suppliers.over_http.raw_service import (
    CONFIRMED,
    FAILED,
    HELD,
    UNREACHED,
    call,
    heard,
    http,
    raw_service,
)
from tests.suppliers.script import trip
from tests.test_settings import PROXIES, PROXY_VARIABLES

pytestmark = pytest.mark.slow

MODULES = ("proxy", "proxy_http", "proxy_connect", "authn_core", "authn_file", "auth_basic")

FORWARD = """
ProxyRequests On
AllowCONNECT 1-65535
LoadModule authz_user_module /usr/lib/apache2/modules/mod_authz_user.so
<Proxy *>
  AuthType Basic
  AuthName company
  AuthUserFile {folder}/users
  Require valid-user
</Proxy>
"""


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl, which .ci/run installs, is missing")
@pytest.mark.parametrize(("url", "environment", "proxy"), PROXIES)
def test_curl_takes_the_same_proxy(
    url: str, environment: dict[str, str], proxy: str | None
) -> None:
    reached = threading.Event()

    def listen(listening: socket.socket) -> None:
        line, _ = listening.accept()
        if line.recv(1):
            reached.set()
        line.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        here = f"127.0.0.1:{listening.getsockname()[1]}"
        threading.Thread(target=listen, args=[listening], daemon=True).start()
        told = {
            name: value if "no_proxy" in name.lower() else _leading(value, proxy, here)
            for name, value in environment.items()
        }
        clean = {
            name: value for name, value in bare_environment().items() if name not in PROXY_VARIABLES
        }
        subprocess.run(
            ["curl", "--silent", "--connect-timeout", "1", "--max-time", "5", url],
            env=clean | told,
            timeout=30,
        )
        assert reached.is_set() is (proxy is not None)
        with socket.create_connection(listening.getsockname()):
            pass


def _leading(value: str, proxy: str | None, here: str) -> str:
    """Have the proxy that is to be taken lead here, and any that is not if none is to be taken."""
    if not value:
        return value
    is_it = proxy is None or proxy.endswith(value)
    return f"http://{here}" if is_it else "http://127.0.0.1:9"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that Apache's own user can read."""
    with tempfile.TemporaryDirectory(prefix="trip-booking-proxy-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(
    SERVERS["apache2"] is None, reason="apache2, which .ci/run installs, is missing"
)
@pytest.mark.parametrize("is_https", [True, False])
async def test_a_supplier_is_reached_through_a_proxy_that_wants_a_password(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_https: bool,
) -> None:
    (folder / "users").write_text("ada:{SHA}iEPX+SQWIR3p67lj/0zigSWTKHg=\n")  # foobar
    authority = Authority(folder, "authority")
    trusting = ssl.create_default_context(cafile=str(authority.path))
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusting)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("hotels"))
    load = (
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n" for name in MODULES
    )
    async with raw_service(context if is_https else None) as service:
        service.says(http(200, CONFIRMED))
        configuration = "".join(load) + FORWARD
        with started(folder, "apache2", APACHE + configuration, "-D", "FOREGROUND", "-f") as port:
            for user in ("ada:foobar@", ""):
                proxy = f"http://{user}127.0.0.1:{port}"
                hotels = HttpSupplier("hotel", service.url, proxy=proxy)
                for _ in range(2):
                    if user:
                        assert await call(hotels, "PUT", trip()) == HELD
                    else:
                        refused = UNREACHED if is_https else FAILED
                        assert await heard(hotels, "PUT", trip()) == refused
                await hotels.close()
    assert len(service.requests) == 2
    assert ("the proxy answered 407" if is_https else "answered 407") in caplog.text
    assert "foobar" not in caplog.text
