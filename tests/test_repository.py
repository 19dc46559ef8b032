"""What lies beside the code: the requirements, the changelog, the example of settings."""

import base64
import os
import re
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from api import keys_of
from connection import encryption_of
from settings import Settings, SupplierSettings
from shared import KINDS, VERSION
from tests.processes import ROOT

REQUIREMENTS = ROOT / "requirements"
ELSEWHERE = ("TEMPORAL_", "OTEL_")
"""What variables begin with that Temporal's and OpenTelemetry's libraries read."""


def wanted(name: str) -> set[str]:
    """Return what a file of requirements asks for, with the files that it includes."""
    found = set()
    for line in (REQUIREMENTS / f"{name}.in").read_text().splitlines():
        if line.startswith("-r "):
            found |= wanted(Path(line.removeprefix("-r ")).stem)
        elif line and not line.startswith("#"):
            found.add(re.sub(r"\[.*\]", "", line).lower())
    return found


@pytest.mark.parametrize("name", ["service", "run", "dev"])
def test_what_is_asked_for_is_locked_with_hashes(name: str) -> None:
    """After a change of an .in file: `make lock`."""
    lock = (REQUIREMENTS / f"{name}.txt").read_text()
    locked = re.findall(r"^(\S+==\S+)[^\n]*\\\n    --hash=sha256:", lock, re.M)
    assert wanted(name) <= {re.sub(r"\[.*\]", "", entry) for entry in locked}
    assert len(locked) == len(re.findall(r"^[a-z]", lock, re.M))


@pytest.mark.parametrize("name", ["service", "run", "dev"])
def test_renovate_can_read_how_a_lock_was_made(name: str) -> None:
    """It takes no option with its value in a word of its own, and no short one."""
    made = (REQUIREMENTS / f"{name}.txt").read_text().splitlines()[1].split()
    assert made[:4] == ["#", "uv", "pip", "compile"]
    *options, source = made[4:]
    assert source == f"requirements/{name}.in"
    assert all(re.fullmatch(r"--[a-z-]+(=\S+)?", option) for option in options)


@pytest.mark.parametrize("name", ["run", "dev"])
def test_tests_run_with_what_the_service_runs_with(name: str) -> None:
    assert pins("service") <= pins(name)


def pins(name: str) -> set[str]:
    return set(re.findall(r"^\S+==\S+", (REQUIREMENTS / f"{name}.txt").read_text(), re.M))


def test_readme_says_why_each_package_is_there() -> None:
    _, _, after = (ROOT / "README.md").read_text().partition("\n## What it depends on\n")
    table = after.partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \|", table, re.M)
    named = {name.strip().lower() for row in rows for name in row.split(",")}
    assert {entry.partition("==")[0] for entry in wanted("dev")} <= named


def test_the_changelog_tells_of_this_version() -> None:
    versions = re.findall(r"^## \[(.+?)\](.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0] == ("Unreleased", "")
    assert versions[1][0] == VERSION
    assert all(re.fullmatch(r" - \d{4}-\d\d-\d\d", day) for _, day in versions[1:])


def test_every_line_of_the_example_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    settings = dict(line.removeprefix("# ").split("=", 1) for line in lines if is_setting(line))
    assert len(settings) > 10
    known = variables(Settings) | {
        f"{kind.upper()}_SUPPLIER_{name}" for kind in KINDS for name in variables(SupplierSettings)
    }
    assert {name for name in settings if not name.startswith(ELSEWHERE)} <= known
    made = base64.b64encode(os.urandom(32)).decode()
    for name, value in settings.items():
        monkeypatch.setenv(name, value.replace(":the-key", f":{made}"))
    read = Settings()
    assert len(keys_of(read.api_keys)) == 2
    assert encryption_of(read.payload_keys).encrypts


def test_every_setting_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    rows = re.findall(r"^\| `([A-Z…_]+)` \| (?:`(.+?)`|none) \|", text, re.M)
    documented = [(name, default or None) for name, default in rows]
    assert sorted(documented) == sorted(
        [
            *((name.upper(), default_of(Settings, name)) for name in Settings.model_fields),
            *(
                (f"…_SUPPLIER_{name}".upper(), default_of(SupplierSettings, name))
                for name in SupplierSettings.model_fields
            ),
        ]
    )


def default_of(settings: type[BaseSettings], name: str) -> str | None:
    """Return a setting's default as one would write it into the environment."""
    default = settings.model_fields[name].default
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, bool | int | float):
        return f"{default:g}"
    return default or None


def is_setting(line: str) -> bool:
    return re.match(r"(# )?[A-Z0-9_]+=", line) is not None


def variables(of: type[BaseSettings]) -> set[str]:
    return {name.upper() for name in of.model_fields}
