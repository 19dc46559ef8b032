"""The objects that deploy/kubernetes comes to, as `kubectl kustomize` puts them together."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.processes import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"

BY_CPU = ("scale-api", "scale-worker-by-cpu", "pod-monitor")
BY_BACKLOG = ("scale-api", "scale-worker-by-backlog", "pod-monitor")

needs_kubectl = pytest.mark.skipif(
    not shutil.which("kubectl"), reason="kubectl is not here: it puts the objects together"
)

Object = dict[str, Any]


@cache
def rendered(folder: Path) -> list[Object]:
    """Return the objects of a kustomization."""
    done = subprocess.run(
        ["kubectl", "kustomize", folder], capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def with_components(folder: Path, components: Sequence[str]) -> list[Object]:
    """Return the objects of the base with components, put together in `folder`."""
    folder.mkdir(exist_ok=True)
    place = Path(os.path.relpath(KUBERNETES, folder))
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [str(place / "base")],
        "components": [str(place / "components" / name) for name in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return rendered(folder)


def of_kind(objects: Iterable[Object], *kinds: str) -> list[Object]:
    return [each for each in objects if each["kind"] in kinds]


def workloads(objects: Iterable[Object]) -> dict[str, Object]:
    """Return the pods that Deployments and Jobs make: labels and spec, by component."""
    templates = [each["spec"]["template"] for each in of_kind(objects, "Deployment", "Job")]
    return {each["metadata"]["labels"]["app.kubernetes.io/component"]: each for each in templates}


def container(pod: Object) -> Object:
    """Return a pod's only container."""
    (only,) = pod["spec"]["containers"]
    found: Object = only
    return found


def selects(selector: Object, labels: Object) -> bool:
    """Whether a selector is of what has these labels."""
    for expression in selector.get("matchExpressions", ()):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    wanted: Object = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def let_through(policies: Iterable[Object], pod: Object, way: str) -> set[int]:
    """Return the ports at which a pod may ask (`egress`) or be asked (`ingress`).

    Fails if no policy forbids the others.
    """
    labels = pod["metadata"]["labels"]
    of_it = [each["spec"] for each in policies if selects(each["spec"]["podSelector"], labels)]
    assert any(way.capitalize() in each["policyTypes"] for each in of_it), "All is let through"
    named = {port["name"]: port["containerPort"] for port in container(pod).get("ports", ())}
    ports = [port["port"] for each in of_it for rule in each.get(way, ()) for port in rule["ports"]]
    return {named.get(port, port) for port in ports}


def variables_of(pod: Object, objects: Iterable[Object]) -> dict[str, str | None]:
    """Return the variables of a pod's container; those of a Secret have no value here."""
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(objects, "ConfigMap")}
    told: dict[str, str | None] = {}
    for source in container(pod).get("envFrom", ()):
        if "configMapRef" in source:
            told |= maps[source["configMapRef"]["name"]]
    return told | {entry["name"]: entry.get("value") for entry in container(pod)["env"]}
