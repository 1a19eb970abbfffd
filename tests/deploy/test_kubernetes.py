"""The manifests: all that they name of Corral exists, and all that they name of each other is there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from models.reference import ModelRef
from server.app import application_routes, create_app
from server.cli.program import make_app
from server.config import ServerConfig
from server.config_sources import load_config
from server.metrics.exposition import expose
from server.metrics.figures import ArmLabels, FigureBook, RequestFigures
from server.metrics.samples import WorkerSample
from tests.docker.files import dockerfile, final_stage, instructions, values
from tests.docker.test_images import image_environment, seconds_to_stop
from tests.server.scripted_service import ScriptedService

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"


def documents(path: Path) -> Iterator[dict[str, Any]]:
    yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


def manifests() -> dict[str, dict[str, Any]]:
    """All objects by their kinds; no kind is there twice but scalers of different kinds."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(FOLDER.rglob("*.yaml")):
        for each in documents(path):
            if path.name != "kustomization.yaml":
                assert each["kind"] not in found
                found[each["kind"]] = each
    return found


MANIFESTS = manifests()
DEPLOYMENT = MANIFESTS["Deployment"]["spec"]
POD = DEPLOYMENT["template"]["spec"]
(CONTAINER,) = POD["containers"]
JOB = MANIFESTS["Job"]["spec"]["template"]["spec"]
(MAKER,) = JOB["containers"]


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each.get("value", "a-secret") for each in container["env"]}


def parsed(arguments: list[str]) -> dict[str, Any]:
    """The parameters of a command line, as `corral` reads them."""
    group = typer.main.get_command(make_app(arguments[0]))
    assert isinstance(group, typer.core.TyperGroup)
    return group.commands[arguments[0]].make_context(arguments[0], arguments[1:]).params


@pytest.mark.parametrize(
    "path", sorted(FOLDER.rglob("kustomization.yaml")), ids=lambda path: path.parent.name
)
def test_a_kustomization_names_the_files_beside_it(path: Path) -> None:
    (kustomization,) = documents(path)
    there = {each.name for each in path.parent.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == there
    assert kustomization["kind"] == ("Kustomization" if path.parent == FOLDER else "Component")


def test_the_image_is_the_one_that_docker_makes() -> None:
    (kustomization,) = documents(FOLDER / "kustomization.yaml")
    (image,) = kustomization["images"]
    assert {CONTAINER["image"], MAKER["image"]} == {image["name"]}
    assert f"-t {image['name']}:{image['newTag']} ." in dockerfile()


def test_probes_ask_routes_that_need_no_key_at_the_port_of_the_server() -> None:
    routes = {route.path for route in application_routes(create_app(ServerConfig(), ScriptedService()))}
    (port,) = CONTAINER["ports"]
    assert port["containerPort"] == load_config({}, {}).port
    probes = {name: CONTAINER[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/ready",
        "readiness": "/ready",
        "liveness": "/health",
    }
    assert {probe["path"] for probe in probes.values()} <= routes
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    (service_port,) = MANIFESTS["Service"]["spec"]["ports"]
    assert service_port["targetPort"] == port["name"]
    annotations = DEPLOYMENT["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])
    assert annotations["prometheus.io/path"] in routes


def test_variables_are_settings_and_the_pod_has_time_to_stop() -> None:
    image = {name: value for name, value in image_environment().items() if name.startswith("CORRAL_")}
    config = load_config({}, {**image, **variables(CONTAINER)})
    assert [key.get_secret_value() for key in config.api_keys] == ["a-secret"]
    stop_s = config.drain_delay_s + seconds_to_stop(config.shutdown_grace_s)
    assert stop_s < POD["terminationGracePeriodSeconds"]
    readiness = CONTAINER["readinessProbe"]
    assert readiness["periodSeconds"] * readiness["failureThreshold"] < config.drain_delay_s / 2


def test_the_job_makes_the_file_that_is_served(tmp_path: Path) -> None:
    made = parsed(MAKER["args"])
    assert (MAKER["args"][0], CONTAINER["args"][0]) == ("quantize", "serve")
    (type_,) = made["types"]
    name = ModelRef.parse(made["reference"]).name
    assert parsed(CONTAINER["args"])["references"] == [f"{made['out']}/{name}.{type_}.gguf"]


@pytest.mark.parametrize("pod", [POD, JOB], ids=["server", "job"])
def test_pods_have_what_they_write_mounted_and_no_rights(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    (user,) = (rest for name, rest in final_stage(instructions(dockerfile())) if name == "USER")
    assert user == "${RUN_AS}"
    arguments = " ".join(values("ARG", instructions(dockerfile())))
    assert f"RUN_AS={pod['securityContext']['fsGroup']}:" in arguments
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    assert set(mounts) == {"/mnt/models", "/data", "/tmp"}  # noqa: S108 - a mount
    assert set(mounts.values()) == {each["name"] for each in pod["volumes"]}
    claims = [each["persistentVolumeClaim"] for each in pod["volumes"] if "persistentVolumeClaim" in each]
    assert [each["claimName"] for each in claims] == [MANIFESTS["PersistentVolumeClaim"]["metadata"]["name"]]


def test_secrets_have_the_keys_that_are_asked_for() -> None:
    secret = MANIFESTS["Secret"]
    for container in (CONTAINER, MAKER):
        for each in container["env"]:
            if (reference := each.get("valueFrom", {}).get("secretKeyRef")) is not None:
                assert reference["name"] == secret["metadata"]["name"]
                assert reference["key"] in secret["stringData"]
                assert reference["optional"] is True


def test_selectors_find_the_pods_of_the_server_and_no_others() -> None:
    labels = DEPLOYMENT["template"]["metadata"]["labels"]
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert MANIFESTS[kind]["spec"]["selector"]["matchLabels"] == labels
    assert MANIFESTS["Service"]["spec"]["selector"] == labels
    assert "labels" not in MANIFESTS["Job"]["spec"]["template"].get("metadata", {})


def test_scalers_ask_for_figures_that_there_are() -> None:
    book = FigureBook()
    sample = WorkerSample(model="demo", type="Q4_K_M", state="ready")
    book.requests[ArmLabels("demo", "Q4_K_M", "")] = RequestFigures()
    text = expose(book, [sample], "")[0].decode()
    there = set(re.findall(r"^([a-z]+:[a-z_]+)\{", text, flags=re.MULTILINE))
    (trigger,) = MANIFESTS["ScaledObject"]["spec"]["triggers"]
    assert set(re.findall(r"[a-z]+:[a-z_]+", trigger["metadata"]["query"])) <= there
    (metric,) = MANIFESTS["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] in {name.replace(":", "_") for name in there}
    for kind in ("ScaledObject", "HorizontalPodAutoscaler"):
        target = MANIFESTS[kind]["spec"]["scaleTargetRef"]
        assert target["name"] == MANIFESTS["Deployment"]["metadata"]["name"]
    assert json.dumps(MANIFESTS["HorizontalPodAutoscaler"]["spec"]["minReplicas"]) == "1"
