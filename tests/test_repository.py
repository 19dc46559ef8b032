"""What lies beside the code: the requirements, the changelog, the example of settings."""

import base64
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from api import keys_of
from connection import encryption_of
from settings import Settings, SupplierSettings
from shared import KINDS, VERSION
from tests.processes import ROOT

REQUIREMENTS = ROOT / "requirements.txt"
LOCKS = ("service", "run", "dev")
ELSEWHERE = ("TEMPORAL_", "OTEL_")
"""What variables begin with that Temporal's and OpenTelemetry's libraries read."""


def asked(file: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the name, the version and the comment of each line of a file of requirements."""
    for line in file.read_text().splitlines():
        if line.startswith("-r "):
            yield from asked(file.parent / line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            requirement, _, comment = line.partition("  # ")
            name, _, version = re.sub(r"\[.*\]", "", requirement).lower().partition("==")
            yield name, version, comment


def source(name: str) -> Path:
    """Return what a lock is made from."""
    return ROOT / "requirements" / f"{name}.in"


def lock(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text()


def locked(name: str) -> dict[str, str]:
    """Return the versions of a lock by the names of their packages."""
    return dict(re.findall(r"^([\w.-]+)(?:\[.*\])?==(\S+)", lock(name), re.M))


def test_each_package_has_its_version_and_the_reason_why_it_is_here() -> None:
    found = [*asked(REQUIREMENTS), *asked(source("dev"))]
    assert len(found) > 40
    assert [name for name, version, comment in found if not (version and comment)] == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_the_versions_of_the_requirements_with_hashes(name: str) -> None:
    """After a change of requirements.txt or of an .in file: `make lock`."""
    pins = locked(name)
    versions = {package: version for package, version, _ in asked(REQUIREMENTS)}
    assert {package: version for package, version in pins.items() if package in versions} == {
        package: version for package, version in versions.items() if package in pins
    }
    assert {package for package, _, _ in asked(source(name))} <= pins.keys()
    entries = re.findall(r"^[a-z]", lock(name), re.M)
    assert len(re.findall(r"^\S+==[^\n]*\\\n    --hash=sha256:", lock(name), re.M)) == len(entries)


@pytest.mark.parametrize("name", ["service", "run"])
def test_what_a_lock_has_of_the_requirements_has_no_version_of_its_own(name: str) -> None:
    names = {package for package, _, _ in asked(REQUIREMENTS)}
    assert all(package in names and not version for package, version, _ in asked(source(name)))


@pytest.mark.parametrize("name", ["run", "dev"])
def test_tests_run_with_what_the_service_runs_with(name: str) -> None:
    assert locked("service").items() <= locked(name).items()


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
