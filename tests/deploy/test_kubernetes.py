"""The manifests for Kubernetes: built as kustomize does, by its schemas, and restricted."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from tests.support import ROOT
from usher.server.serve import STOP_SECONDS

FOLDER: Final = ROOT / "deploy" / "kubernetes"
VERSIONS: Final = ("1.29", "1.37")
UID: Final = 10_001


def kustomization() -> dict[str, Any]:
    """What names the others."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    return found


def manifests() -> Iterator[dict[str, Any]]:
    """Each of them, as it is written."""
    for name in kustomization()["resources"]:
        yield from yaml.safe_load_all((FOLDER / name).read_text())


def built() -> tuple[dict[str, Any], ...]:
    """All of them, as kustomize makes them."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not on the PATH, so kustomize did not build the manifests")
    command = ["kubectl", "kustomize", str(FOLDER)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def pod() -> dict[str, Any]:
    """The template of the pods."""
    [found] = [each for each in manifests() if each["kind"] == "StatefulSet"]
    template: dict[str, Any] = found["spec"]["template"]["spec"]
    return template


def container(kind: str = "containers") -> dict[str, Any]:
    """The one container, its variables as a mapping."""
    [found] = pod()[kind]
    [generated] = kustomization()["configMapGenerator"]
    literals = dict(each.split("=", 1) for each in generated["literals"])
    own = {each["name"]: each["value"] for each in found["env"]}
    return {**found, "env": {**literals, **own}}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_take_each_manifest(version: str) -> None:
    """Of the oldest and the newest version that is meant; and refuse what is misspelt."""
    for each in manifests():
        kubernetes_validate.validate(each, version, strict=True)
    wrong = {**next(manifests()), "metdata": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_kustomize_builds_what_the_schemas_take() -> None:
    """In one namespace, with the image that was named, and settings whose change restarts pods."""
    made = built()
    for each in made:
        kubernetes_validate.validate(each, VERSIONS[-1], strict=True)
    kinds = sorted(each["kind"] for each in made)
    wanted = ["ConfigMap", "Namespace", "PodDisruptionBudget", "Service", "StatefulSet"]
    assert kinds == wanted
    assert {each["metadata"].get("namespace", "usher") for each in made} == {"usher"}
    [pods] = [each for each in made if each["kind"] == "StatefulSet"]
    [server] = pods["spec"]["template"]["spec"]["containers"]
    assert server["image"] == "registry.example.com/usher:1"
    [settings] = [each["metadata"]["name"] for each in made if each["kind"] == "ConfigMap"]
    assert server["envFrom"] == [{"configMapRef": {"name": settings}}]
    assert settings.startswith("usher-")


@pytest.mark.parametrize("kind", ["containers", "initContainers"])
def test_the_pods_are_restricted(kind: str) -> None:
    """By Kubernetes' own measure, which the namespace enforces, and with a read-only root."""
    [namespace] = [each for each in manifests() if each["kind"] == "Namespace"]
    enforced = namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert enforced == "restricted"
    assert pod()["securityContext"]["runAsNonRoot"]
    assert pod()["securityContext"]["runAsUser"] == UID
    assert pod()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod()["automountServiceAccountToken"]
    assert container(kind)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_kubernetes_sets_no_variable_that_looks_like_a_setting() -> None:
    """For a service named usher it would set USHER_PORT, and Usher would not start."""
    assert pod()["enableServiceLinks"] is False


def test_secrets_are_files_that_not_everybody_can_read() -> None:
    """Each that is named lies in the volume; others of the pod's group read them."""
    volumes = {each["name"]: each for each in pod()["volumes"]}
    assert volumes["secrets"]["secret"]["defaultMode"] == 0o440
    assert pod()["securityContext"]["fsGroup"] == UID
    [mount] = [each for each in container()["volumeMounts"] if each["name"] == "secrets"]
    assert mount["readOnly"]
    files = [value for name, value in container()["env"].items() if name.endswith("_FILE")]
    assert len(files) == 2
    assert all(value.startswith(f"{mount['mountPath']}/") for value in files)


def test_probes_ask_what_they_are_for() -> None:
    """/healthz about restarts, /readyz about traffic."""
    paths = {
        name: container()[f"{name}Probe"]["httpGet"]["path"]
        for name in ("startup", "liveness", "readiness")
    }
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


def test_a_pod_that_ends_finishes_first_and_another_stays() -> None:
    """The time to stop holds what comes before it; a budget keeps one of two."""
    pause = int(container()["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod()["terminationGracePeriodSeconds"] > STOP_SECONDS + pause
    [budget] = [each for each in manifests() if each["kind"] == "PodDisruptionBudget"]
    [pods] = [each for each in manifests() if each["kind"] == "StatefulSet"]
    assert budget["spec"]["minAvailable"] < pods["spec"]["replicas"]
    labels = pods["spec"]["template"]["metadata"]["labels"]
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert container("initContainers")["args"] == ["db", "upgrade"]


def test_the_spool_outlives_its_pod() -> None:
    """It holds answered events: a claim, and no emptyDir."""
    [pods] = [each for each in manifests() if each["kind"] == "StatefulSet"]
    claims = {each["metadata"]["name"] for each in pods["spec"]["volumeClaimTemplates"]}
    [mount] = [each for each in container()["volumeMounts"] if each["mountPath"] == "/data"]
    assert mount["name"] in claims
