"""Where Temporal is, by its own variables and its own file."""

import os
import re
from pathlib import Path

import pytest

from connection import temporal_config


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the machine's own variables, and its user's `temporal.toml`."""
    for name in os.environ:
        if name.startswith("TEMPORAL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_temporal_is_on_this_machine_when_nothing_else_is_said() -> None:
    assert temporal_config() == {"target_host": "localhost:7233"}


def test_temporals_own_variables_say_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal.example:7233")
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "trips")
    assert temporal_config() == {"target_host": "temporal.example:7233", "namespace": "trips"}


def test_temporals_config_file_says_where_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "temporal.toml"
    config.write_text('[profile.default]\naddress = "temporal.example:7233"\n')
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(config))
    assert temporal_config()["target_host"] == "temporal.example:7233"


BAD_ADDRESSES = (
    "localhost:99999",
    "localhost:0",
    "localhost",
    "two words:7233",
    "http://host:7233",
)


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("TEMPORAL_CONFIG_FILE", ".", "*"),
        ("TEMPORAL_CONFIG_FILE", "broken.toml", "*"),
        ("TEMPORAL_PROFILE", "nobody-wrote-it", "*"),
        ("TEMPORAL_TLS_CLIENT_CERT_PATH", "missing.pem", "*"),
        ("TEMPORAL_TLS_CLIENT_CERT_PATH", "broken.toml", "TLS_CLIENT_CERT_PATH"),
        ("TEMPORAL_TLS_CLIENT_KEY_PATH", "broken.toml", "TLS_CLIENT_CERT_PATH"),
        ("TEMPORAL_API_KEY", "a-key\n", "API_KEY"),
        *(("TEMPORAL_ADDRESS", address, "ADDRESS") for address in BAD_ADDRESSES),
    ],
)
def test_a_bad_configuration_stops_the_process_with_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, named: str
) -> None:
    (tmp_path / "broken.toml").write_text("address = = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    starts = re.escape(f"Bad Temporal configuration (TEMPORAL_{named}")
    with pytest.raises(SystemExit, match=rf"\A{starts}.+\Z"):
        temporal_config()


@pytest.mark.parametrize("address", ["temporal:7233", "10.0.0.1:1", "[::1]:65535"])
def test_an_address_may_be_a_name_or_an_ip(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    assert temporal_config()["target_host"] == address
