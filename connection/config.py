"""Where Temporal is and how to connect: its own variables and its file `temporal.toml`.

`temporalio.envconfig` reads them (`TEMPORAL_ADDRESS`, `TEMPORAL_TLS_*`, `TEMPORAL_PROFILE`):
https://docs.temporal.io/develop/environment-configuration
"""

import os
import re
import sys

from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.service import TLSConfig

ADDRESS = re.compile(r"(?:[^\s:/]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")
MAX_PORT = 65_535

TELLS_NO_VALUE = re.compile(r"(?<=TOML parse error at )line \d+, column \d+|Cannot specify both.*")
"""What may be shown of an error's text. The rest repeats the line of the file, with its secret."""


def temporal_config() -> ClientConnectConfig:
    """Return where Temporal is and how to connect.

    Raises `SystemExit` with one line when the variables or the file cannot be read.
    """
    try:
        config = ClientConfig.load_client_connect_config()
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f"Bad Temporal configuration (TEMPORAL_*): {_reason(error)}")
    address = config.setdefault("target_host", "localhost:7233")
    match = ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match[1]) <= MAX_PORT:
        sys.exit("Bad Temporal configuration (TEMPORAL_ADDRESS): it is not host:port")
    if not (config.get("api_key") or "").isprintable():
        # The SDK would connect without it, and Temporal say that the caller is unknown.
        sys.exit("Bad Temporal configuration (TEMPORAL_API_KEY): it has a line break or the like")
    tls = config.get("tls")
    if isinstance(tls, TLSConfig) and bool(tls.client_cert) != bool(tls.client_private_key):
        variables = "TEMPORAL_TLS_CLIENT_CERT_PATH, TEMPORAL_TLS_CLIENT_KEY_PATH"
        sys.exit(f"Bad Temporal configuration ({variables}): set both of them, or neither")
    return config


def _reason(error: Exception) -> str:
    """Return why variables or file cannot be read. It repeats no value: any may be a secret."""
    if isinstance(error, OSError):
        names = [name for name, value in os.environ.items() if value == str(error.filename)]
        return f"{', '.join(names) or 'a file'} cannot be read ({error.strerror})"
    if "Profile" in str(error):
        return "no profile has the name in TEMPORAL_PROFILE"
    told = TELLS_NO_VALUE.search(str(error))
    return f"it cannot be read: {told[0]}" if told else "it cannot be read"
