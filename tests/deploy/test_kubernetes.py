"""The Kubernetes objects are of their kinds' form, and fit the service and one another."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from lifecycle import STOP_LIMIT
from record.database import POSTGRESQL_CONNECTIONS
from shared import TASK_QUEUE_NAME, VERSION
from telemetry.spans import CLOSE_LIMIT
from tests.deploy.asking import PROMETHEUS
from tests.deploy.image import API, MIGRATION, WORKER, variables
from tests.deploy.kubernetes import (
    BY_BACKLOG,
    BY_CPU,
    KUBERNETES,
    Object,
    container,
    let_through,
    needs_kubectl,
    of_kind,
    rendered,
    selects,
    variables_of,
    with_components,
    workloads,
)
from tests.variables import SECRET, settings_of, unknown

pytestmark = needs_kubectl

kubernetes_validate = pytest.importorskip(
    "kubernetes_validate", reason="kubernetes-validate, which requirements/dev.txt has, is missing"
)

OLDEST = "1.32"
"""The oldest release of Kubernetes whose form the objects must have, too."""

SCALED_OBJECT = Path(__file__).parent / "schemas" / "keda-scaled-object-spec.json"

DOCS = KUBERNETES.parents[1] / "docs"

LONG_POLLS_OF_A_FRONTEND = 1_200
"""How many waits a frontend of Temporal allows a namespace (`frontend.namespaceCount`)."""

WITHOUT_A_SCHEMA = ("PodMonitor",)
"""Kinds that are not Kubernetes' own, and whose schema is not here."""

SECRETS = {
    "DATABASE_URL": "postgresql+psycopg://trips:of-the-test@database/trips",
    "API_KEYS": "shop:a-secret-of-the-test",
}
"""What the Secret must have; the rest of it is optional."""


@pytest.fixture(scope="module", params=[BY_CPU, BY_BACKLOG], ids=["by CPU", "by backlog"])
def objects(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[Object]:
    """All there is, scaled in either way, and the migration."""
    folder = tmp_path_factory.mktemp("all")
    return with_components(folder, request.param) + rendered(KUBERNETES / "migration")


def overlays() -> list[Path]:
    return sorted(file.parent for file in KUBERNETES.glob("overlays/*/kustomization.yaml"))


@pytest.mark.parametrize(
    "version",
    [kubernetes_validate.latest_version(), pytest.param(OLDEST, marks=pytest.mark.slow)],
)
def test_the_objects_have_the_form_of_their_kinds(version: str, tmp_path: Path) -> None:
    all_there_is = (
        with_components(tmp_path / "cpu", BY_CPU)
        + with_components(tmp_path / "backlog", BY_BACKLOG)
        + [told for folder in overlays() for told in rendered(folder)]
    )
    schema = json.loads(SCALED_OBJECT.read_text())
    for each in {(told["kind"], told["metadata"]["name"]): told for told in all_there_is}.values():
        if each["kind"] == "ScaledObject":
            jsonschema.validate(each["spec"], schema)
        elif each["kind"] not in WITHOUT_A_SCHEMA:
            kubernetes_validate.validate(each, version, strict=True)


def test_a_process_starts_with_its_variables(
    objects: list[Object], monkeypatch: pytest.MonkeyPatch
) -> None:
    pods = workloads(objects)
    started = {name: container(pod)["args"] for name, pod in pods.items()}
    assert started == {"api": API, "worker": WORKER, "migration": MIGRATION}
    for pod in pods.values():
        told = variables_of(pod, objects)
        assert not unknown(told)
        entries = {entry["name"]: entry for entry in container(pod)["env"]}
        for name, value in told.items():
            assert value is None or not SECRET.search(name), f"{name} is no secret any more"
        secrets = {
            name: entry["valueFrom"] for name, entry in entries.items() if "valueFrom" in entry
        }
        optional = {name for name, told in secrets.items() if told["secretKeyRef"].get("optional")}
        needed = {name: SECRETS[name] for name in secrets.keys() - optional}
        set_here = {name: value for name, value in told.items() if value is not None}
        settings_of(variables() | set_here | needed, monkeypatch)
    assert not of_kind(objects, "Secret")


def test_the_worker_alone_gets_the_tokens_of_suppliers_of_whatever_kind(
    objects: list[Object],
) -> None:
    secrets = {
        name: [
            source["secretRef"]
            for source in container(pod).get("envFrom", ())
            if "secretRef" in source
        ]
        for name, pod in workloads(objects).items()
    }
    own = {"name": "trip-booking-suppliers", "optional": True}
    assert {name: told for name, told in secrets.items() if told} == {"worker": [own]}
    assert f"secret generic {own['name']} " in (DOCS / "deployment.md").read_text()


def test_the_probes_ask_what_there_is(
    objects: list[Object], monkeypatch: pytest.MonkeyPatch
) -> None:
    pods = workloads(objects)
    settings = settings_of(variables(), monkeypatch)
    asked = {"api": ("http", settings.port), "worker": ("metrics", settings.metrics_port)}
    for name, (port, number) in asked.items():
        told = container(pods[name])
        assert told["ports"] == [{"name": port, "containerPort": number}]
        paths = {
            probe: (told[probe]["httpGet"]["path"], told[probe]["httpGet"]["port"])
            for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        # To be not ready is no reason to be restarted.
        assert paths == {
            "startupProbe": ("/livez", port),
            "livenessProbe": ("/livez", port),
            "readinessProbe": ("/readyz", port),
        }
    (service,) = of_kind(objects, "Service")
    assert selects({"matchLabels": service["spec"]["selector"]}, pods["api"]["metadata"]["labels"])
    assert service["spec"]["ports"][0]["targetPort"] == "http"


def test_nobody_is_killed_who_still_has_time(
    objects: list[Object], monkeypatch: pytest.MonkeyPatch
) -> None:
    pods = workloads(objects)
    told = {name: value for name, value in variables_of(pods["worker"], objects).items() if value}
    grace = settings_of(told, monkeypatch).worker_grace_seconds
    leaving = STOP_LIMIT + CLOSE_LIMIT
    assert pods["worker"]["spec"]["terminationGracePeriodSeconds"] > grace + leaving
    before = container(pods["api"])["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pods["api"]["spec"]["terminationGracePeriodSeconds"] > before + leaving


def test_a_selector_is_of_its_own_pods_alone(objects: list[Object]) -> None:
    pods = workloads(objects)
    for each in of_kind(objects, "Deployment", "PodDisruptionBudget", "PodMonitor"):
        component = each["metadata"]["labels"]["app.kubernetes.io/component"]
        selector = each["spec"]["selector"]
        found = {name for name, pod in pods.items() if selects(selector, pod["metadata"]["labels"])}
        assert found == {component}, each["metadata"]["name"]


def test_versions_stand_beside_each_other() -> None:
    here = rendered(KUBERNETES / "overlays" / "versioned")
    (pod,) = workloads(here).values()
    base = rendered(KUBERNETES / "base")
    told = variables_of(pod, base)
    assert told["WORKER_DEPLOYMENT"]
    assert told["WORKER_BUILD_ID"] == VERSION
    for each in here:
        assert VERSION.replace(".", "-") in each["metadata"]["name"]
        selector = each["spec"]["selector"]
        assert selects(selector, pod["metadata"]["labels"])
        another = pod["metadata"]["labels"] | {"app.kubernetes.io/version": "another"}
        assert not selects(selector, another)
        assert not selects(selector, workloads(base)["worker"]["metadata"]["labels"])
    for each in of_kind(base, "Deployment", "PodDisruptionBudget"):
        assert not selects(each["spec"]["selector"], pod["metadata"]["labels"])


def test_pods_have_no_rights_that_they_do_not_need(objects: list[Object]) -> None:
    for pod in workloads(objects).values():
        spec = pod["spec"]
        # The "restricted" level of https://kubernetes.io/docs/concepts/security/pod-security-standards/
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec["automountServiceAccountToken"]
        assert not spec["enableServiceLinks"]
        own = container(pod)["securityContext"]
        assert own["readOnlyRootFilesystem"]
        assert not own["allowPrivilegeEscalation"]
        assert own["capabilities"] == {"drop": ["ALL"]}
        resources = container(pod)["resources"]
        assert resources["requests"].keys() == {"cpu", "memory"}
        assert resources["limits"].keys() == {"memory"}


def test_only_what_is_needed_gets_through(objects: list[Object]) -> None:
    policies, pods = of_kind(objects, "NetworkPolicy"), workloads(objects)
    names_and_database = {53, 5432}
    assert let_through(policies, pods["migration"], "egress") == names_and_database
    temporal = variables_of(pods["api"], objects)["TEMPORAL_ADDRESS"]
    assert temporal
    common = names_and_database | {int(temporal.rpartition(":")[2]), 4318}
    assert let_through(policies, pods["api"], "egress") == common
    assert let_through(policies, pods["worker"], "egress") == common | {443}
    assert let_through(policies, pods["migration"], "ingress") == set()
    for name in ("api", "worker"):
        (port,) = container(pods[name])["ports"]
        assert let_through(policies, pods[name], "ingress") == {port["containerPort"]}


def scalers(objects: list[Object]) -> dict[str, Object]:
    """Return what scales each Deployment; fails if two would."""
    found: dict[str, Object] = {}
    for each in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        target = each["spec"]["scaleTargetRef"]["name"]
        assert target not in found, f"Two scale {target}"
        found[target] = each["spec"]
    return found


def test_one_scaler_has_each_deployment_to_itself(objects: list[Object]) -> None:
    found = scalers(objects)
    deployments = {each["metadata"]["name"]: each for each in of_kind(objects, "Deployment")}
    assert found.keys() == deployments.keys()
    for name, spec in found.items():
        assert "replicas" not in deployments[name]["spec"], "kubectl apply would undo it"
        least = spec["minReplicas"] if "minReplicas" in spec else spec["minReplicaCount"]
        assert least >= 2, "one may go at any time"
    for folder in overlays():
        scalers(rendered(folder))


def test_an_overlay_says_of_every_image_which() -> None:
    for folder in overlays():
        for pod in workloads(rendered(folder)).values():
            name, _, tag = container(pod)["image"].rpartition(":")
            assert name.endswith("/trip-booking"), folder
            assert tag == VERSION, folder


@pytest.mark.parametrize("component", ["scale-worker-by-cpu", "scale-worker-by-backlog"])
def test_the_workers_of_a_version_have_a_scaler_of_their_own(
    component: str, tmp_path: Path
) -> None:
    copy = tmp_path / "kubernetes"
    shutil.copytree(KUBERNETES, copy)
    written = copy / "overlays" / "versioned" / "kustomization.yaml"
    line = f"components: [../../components/{component}]\n"
    written.write_text(written.read_text() + line)
    objects = rendered(written.parent)
    (deployment,) = of_kind(objects, "Deployment")
    assert scalers(objects).keys() == {deployment["metadata"]["name"]}
    assert "replicas" not in deployment["spec"]


def test_there_is_room_for_all_pods_that_there_may_be(objects: list[Object]) -> None:
    found, most = scalers(objects), {}
    for each in of_kind(objects, "Deployment"):
        name, rollout = each["metadata"]["name"], each["spec"]["strategy"]["rollingUpdate"]
        count = found[name].get("maxReplicas") or found[name]["maxReplicaCount"]
        most[name] = count + rollout["maxSurge"]
    asked = variables_of(workloads(objects)["api"], objects)["MAX_LONG_POLLS"]
    assert asked
    assert most["api"] * int(asked) <= LONG_POLLS_OF_A_FRONTEND
    connections = sum(most.values()) * POSTGRESQL_CONNECTIONS
    (wanted,) = re.findall(r"`max_connections` of (\d+)", (DOCS / "deployment.md").read_text())
    assert connections < int(wanted)


def test_the_backlog_is_that_of_the_trips(tmp_path: Path) -> None:
    objects = with_components(tmp_path, BY_BACKLOG)
    triggers = {each["type"]: each for each in scalers(objects)["worker"]["triggers"]}
    asked: dict[str, Any] = triggers["temporal"]["metadata"]
    told = variables_of(workloads(objects)["worker"], objects)
    # The parameters of https://keda.sh/docs/latest/scalers/temporal/; all are strings.
    assert int(asked.pop("targetQueueSize")) > 0
    assert asked == {
        "endpoint": told["TEMPORAL_ADDRESS"],
        "namespace": told["TEMPORAL_NAMESPACE"],
        "taskQueue": TASK_QUEUE_NAME,
        "queueTypes": "workflow,activity",
    }


def test_the_operators_prometheus_gives_the_names_that_the_rules_ask_for(
    objects: list[Object],
) -> None:
    pods = workloads(objects)
    jobs = set()
    for each in of_kind(objects, "PodMonitor"):
        component = each["metadata"]["labels"]["app.kubernetes.io/component"]
        (endpoint,) = each["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] in {port["name"] for port in container(pods[component])["ports"]}
        jobs |= {rule["replacement"] for rule in endpoint["relabelings"]}
    written = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    assert jobs == {job["job_name"] for job in written["scrape_configs"]}
