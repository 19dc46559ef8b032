"""What lies beside the code: the requirements, the changelog, the example of settings."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from api import keys_of
from connection import encryption_of
from settings import Settings, SupplierSettings
from shared import SAMPLES, VERSION
from tests.processes import ROOT
from tests.variables import settings_of, unknown

REQUIREMENTS = ROOT / "requirements.txt"
LOCKS = ("service", "run", "dev")


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
    for package, version, _ in asked(REQUIREMENTS):
        assert pins.get(package, version) == version
    assert {package for package, _, _ in asked(source(name))} <= pins.keys()
    entries = re.findall(r"^[a-z]", lock(name), re.M)
    assert len(re.findall(r"^\S+==[^\n]*\\\n    --hash=sha256:", lock(name), re.M)) == len(entries)


def test_the_service_has_no_versions_of_its_own_and_tests_run_with_its() -> None:
    names = {package for package, _, _ in asked(REQUIREMENTS)}
    for name in ("service", "run"):
        assert all(package in names and not version for package, version, _ in asked(source(name)))
    for name in ("run", "dev"):
        assert locked("service").items() <= locked(name).items()


def test_the_changelog_tells_of_this_version() -> None:
    versions = re.findall(r"^## \[(.+?)\](.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0] == ("Unreleased", "")
    assert versions[1][0] == VERSION
    assert all(re.fullmatch(r" - \d{4}-\d\d-\d\d", day) for _, day in versions[1:])


def test_every_line_of_the_example_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / ".env.example").read_text()
    settings = dict(re.findall(r"^(?:# )?([A-Z0-9_]+)=(.*)$", text, re.M))
    assert len(settings) > 10
    assert not unknown(settings)
    made = base64.b64encode(bytes(32)).decode()
    values = {name: value.replace("…", made) for name, value in settings.items()}
    read = settings_of(values, monkeypatch)
    roles = [(key.caller.operator, key.caller.metrics_only) for key in keys_of(read.api_keys)]
    assert roles == [(False, False), (True, False), (False, True)]
    assert encryption_of(read.payload_keys).encrypts


EXAMPLES = [
    *(ROOT / name for name in (".env.example", "README.md", "Makefile", "Procfile")),
    *(file for room in ("docs", "deploy") for file in (ROOT / room).rglob("*") if file.is_file()),
]
SAMPLE = re.compile(
    r"(?:\b|_)(API_KEYS|PAYLOAD_KEYS|SUPPLIER_TOKEN|WEBHOOK_SECRET)"
    r"(?:=['\"]?|: )(?!\$|CODEC_)([^\s'\"`]+)"
)
PASSWORD_SAMPLE = re.compile(r"://[^\s/:@]*:([^\s/@]+)@")
OF_COMPOSE = "only-for-development"
"""What Compose gives the databases, which are in a network of their own."""


def samples() -> Iterator[tuple[str, str]]:
    """Yield the setting and the value of each secret in the examples."""
    for file in EXAMPLES:
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            continue  # A picture.
        for name, value in SAMPLE.findall(text):
            yield name, re.sub(r"\$\(.*", "", value)
        for key in re.findall(r"Bearer ([^\s'\"`<$]+)", text):
            yield "API_KEYS", f"shop:{key}"


def test_no_secret_of_an_example_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever copies an example and forgets to put a secret in is told so at the start."""
    found = set(samples())
    assert {name for name, _ in found} == {
        "API_KEYS",
        "PAYLOAD_KEYS",
        "SUPPLIER_TOKEN",
        "WEBHOOK_SECRET",
    }
    formerly = {
        *(("API_KEYS", f"shop:{sample}:operator") for sample in SAMPLES),
        *(("SUPPLIER_TOKEN", sample) for sample in SAMPLES),
    }
    for name, value in found | formerly:
        told = {"HOTEL_SUPPLIER_URL": "https://hotels.example"}
        name = name.replace("SUPPLIER", "HOTEL_SUPPLIER")
        with pytest.raises(SystemExit, match=name) as stopped:
            settings_of(told | {name: value}, monkeypatch)
        assert not any(sample in str(stopped.value) for sample in SAMPLES)


def test_no_password_of_an_example_is_a_word() -> None:
    texts = [file.read_text(errors="replace") for file in EXAMPLES]
    passwords = {word for text in texts for word in PASSWORD_SAMPLE.findall(text)}
    assert passwords <= {"…", "${DATABASE_PASSWORD:-" + OF_COMPOSE + "}"}


def test_every_setting_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    rows = re.findall(r"^\| `([A-Z…_]+)` \| (?:`(.+?)`|none) \|", text, re.M)
    assert {name: default or None for name, default in rows} == {
        (prefix + name).upper(): default_of(settings, name)
        for settings, prefix in ((Settings, ""), (SupplierSettings, "…_SUPPLIER_"))
        for name in settings.model_fields
    }
    assert len(rows) == len({name for name, _ in rows})


def default_of(settings: type[BaseSettings], name: str) -> str | None:
    """Return a setting's default as one would write it into the environment."""
    default = settings.model_fields[name].default
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, bool | int | float):
        return f"{default:g}"
    return default or None
