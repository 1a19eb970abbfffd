"""The Helm chart, rendered by Helm itself: the objects of the Kustomize base, with values in their places.

CORRAL_HELM names a Python that has Helm: `python3 -m venv V && V/bin/pip install helm-python-sdk`.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

import pytest
import yaml

from tests.deploy.test_kubernetes import FOLDER, MANIFESTS

CHART = FOLDER.parent / "helm"
HELM = os.environ.get("CORRAL_HELM")
RENDER = """
import json, sys
import helm_python
with helm_python.Chart.load(sys.argv[1]) as chart:
    print(json.dumps(chart.render(json.loads(sys.argv[2]), name="corral", namespace="default")))
"""
pytestmark = pytest.mark.skipif(
    HELM is None, reason="no Helm is here; name a Python that has it by CORRAL_HELM"
)


def rendered(**values: Any) -> dict[str, dict[str, Any]]:
    """The chart's objects by their kinds."""
    assert HELM is not None
    command = [HELM, "-c", RENDER, str(CHART), json.dumps(values)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    texts = json.loads(done.stdout).values()
    return {each["kind"]: each for text in texts for each in yaml.safe_load_all(text) if each}


def test_as_it_is_it_makes_what_kustomize_makes() -> None:
    found = rendered()
    job = found["Job"]
    assert job["metadata"]["name"].startswith("corral-model-")
    job["metadata"]["name"] = "corral-model"
    assert sorted(found) == sorted(MANIFESTS.keys() - {"HorizontalPodAutoscaler", "ScaledObject", "Secret"})
    for kind, each in found.items():
        assert each == MANIFESTS[kind], kind


@pytest.mark.parametrize(("by", "kind"), [("hpa", "HorizontalPodAutoscaler"), ("keda", "ScaledObject")])
def test_scalers(by: str, kind: str) -> None:
    found = rendered(autoscaling={"by": by})
    assert found[kind] == MANIFESTS[kind]
    assert "replicas" not in found["Deployment"]["spec"]


def test_values_get_to_their_places() -> None:
    model = {"reference": "org/name", "type": "Q8_0", "file": "name.Q8_0.gguf"}
    found = rendered(image="r/corral:1", model=model, args=["--parallel", "8"], keysSecret="k", replicas=3)
    (served,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    (maker,) = found["Job"]["spec"]["template"]["spec"]["containers"]
    assert served["args"] == ["serve", "/mnt/models/name.Q8_0.gguf", "--parallel", "8"]
    assert maker["args"] == ["quantize", "org/name", "--type", "Q8_0", "--out", "/mnt/models"]
    assert served["image"] == maker["image"] == "r/corral:1"
    assert found["Deployment"]["spec"]["replicas"] == 3
    assert found["Job"]["metadata"]["name"] != rendered()["Job"]["metadata"]["name"]
