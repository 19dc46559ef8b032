"""Temporal as one meets it elsewhere: behind TLS, client certificates and API keys.

The dev server knows none of them, so Debian's nginx stands before it: each of its ports asks for
something else. Certificates are made anew, and are valid for a day.
"""

import datetime as dt
import ipaddress
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.processes import Process, bare_environment, free_port, wait_until

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") or ""

API_KEY = "the-key-of-a-test"

Door = Literal["tls", "client certificate", "api key", "expired"]
"""What a port of the proxy has: plain TLS, a further condition, or a bad certificate of its own."""

DAY = dt.timedelta(days=1)


class Authority:
    """A certificate authority, and the files of the certificates that it has issued."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        is_authority = x509.BasicConstraints(ca=True, path_length=None)
        certificate = self._begun(name, self._key).add_extension(is_authority, critical=True)
        self.path = self._write(name, certificate, self._key)[0]

    def issue(self, name: str, *, expired: bool = False) -> tuple[Path, Path]:
        """Return a certificate for this machine, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        here = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        names = x509.SubjectAlternativeName(here)
        begun = self._begun(name, key, -DAY if expired else DAY)
        return self._write(name, begun.add_extension(names, critical=False), key)

    def _begun(
        self, name: str, key: ec.EllipticCurvePrivateKey, ends: dt.timedelta = DAY
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=_named(name),
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - 2 * DAY,
            not_valid_after=now + ends,
        )

    def _write(
        self, name: str, begun: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey
    ) -> tuple[Path, Path]:
        certificate = begun.sign(self._key, hashes.SHA256())
        files = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files


class Secured:
    """The proxy, its ports and the certificates of who comes to them; nothing is started yet."""

    def __init__(self, folder: Path, temporal_address: str) -> None:
        self.authority = Authority(folder, "ours")
        self.ports: dict[Door, int] = {door: free_port() for door in get_args(Door)}
        self.client = self.authority.issue("client")
        self.expired_client = self.authority.issue("expired-client", expired=True)
        self.foreign_client = Authority(folder, "theirs").issue("foreign-client")
        self._certificates = dict.fromkeys(self.ports, self.authority.issue("server"))
        self._certificates["expired"] = self.authority.issue("expired-server", expired=True)
        self._folder = folder
        self._temporal_address = temporal_address
        self._pid = folder / "nginx.pid"
        settings = folder / "nginx.conf"
        command = [NGINX, "-e", "stderr", "-p", str(folder), "-c", str(settings)]
        self.nginx = Process("nginx", command, folder / "nginx.log", bare_environment())

    def start(self, api_key: str = API_KEY) -> None:
        """Start it, or start it anew, and wait until it listens. One door wants this key."""
        self.nginx.kill()
        self._pid.unlink(missing_ok=True)
        (self._folder / "nginx.conf").write_text("\n".join(self._settings(api_key)))
        self.nginx.start()
        wait_until(self._pid.exists, "nginx listens")

    def _settings(self, api_key: str) -> Iterator[str]:
        further: dict[Door, str] = {
            "client certificate": f"ssl_client_certificate {self.authority.path};"
            " ssl_verify_client on;",
            "api key": f'if ($http_authorization != "Bearer {api_key}") {{ return 401; }}',
        }
        yield f"daemon off; pid {self._pid}; events {{}}"
        yield "http { access_log off;"
        for path in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
            yield f"{path}_temp_path {self._folder}/{path};"
        for door, port in self.ports.items():
            certificate, key = self._certificates[door]
            yield f"server {{ listen 127.0.0.1:{port} ssl http2;"
            yield f"ssl_certificate {certificate}; ssl_certificate_key {key};"
            yield further.get(door, "")
            yield f"location / {{ grpc_pass grpc://{self._temporal_address};"
            yield "grpc_read_timeout 2m; } }"
        yield "}"

    def address(self, door: Door) -> str:
        return f"localhost:{self.ports[door]}"

    @property
    def ca(self) -> dict[str, str]:
        """The variable that trusts our authority."""
        return {"TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(self.authority.path)}


def shown(certificate: tuple[Path, Path]) -> dict[str, str]:
    """Return the variables that show a client's certificate."""
    names = "TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_TLS_CLIENT_KEY_PATH"
    return dict(zip(names, map(str, certificate), strict=True))


@contextmanager
def secured(folder: Path, temporal_address: str) -> Iterator[Secured]:
    """A running proxy in front of a Temporal."""
    proxy = Secured(folder, temporal_address)
    try:
        proxy.start()
        yield proxy
    finally:
        proxy.nginx.kill()


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
