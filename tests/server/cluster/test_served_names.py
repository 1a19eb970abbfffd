from __future__ import annotations

from typing import Any

import pytest

from models.errors import ModelNotFound
from server.cluster.deployments import Deployment
from server.cluster.served_names import ServedNames
from server.supervisor.protocol import ModelStatus


def deployment(name: str, model: str, n_replicas: int = 1, **fields: Any) -> Deployment:
    return Deployment(name=name, model=model, n_replicas=n_replicas, **{"state": "ready", **fields})


def status(name: str, type_: str) -> ModelStatus:
    return ModelStatus(name=name, state="ready", created=1, type=type_)


Q8, Q4 = deployment("vicuna-q8", "lmsys/vicuna:Q8_0"), deployment("vicuna-q4", "lmsys/vicuna:Q4_K_M")
TOLD = {
    "vicuna-q8": [status("lmsys/vicuna", "Q8_0"), status("lmsys/vicuna:poet", "Q8_0")],
    "vicuna-q4": [status("lmsys/vicuna", "Q4_K_M")],
}


def test_a_model_is_found_by_each_of_its_names() -> None:
    names = ServedNames((Q8, Q4), TOLD)
    for name in ("lmsys/vicuna", "lmsys/vicuna:Q8_0", "vicuna-q8"):
        assert names.find(name).deployment is Q8
        assert names.find(name).name_there == ""
    for name in ("lmsys/vicuna:Q4_K_M", "vicuna-q4"):
        assert names.find(name).deployment is Q4
    adapter = names.find("lmsys/vicuna:poet")
    assert (adapter.deployment, adapter.name_there) == (Q8, "lmsys/vicuna:poet")
    shown = [status.name for status in names.models()]
    assert shown == ["lmsys/vicuna", "lmsys/vicuna:poet", "lmsys/vicuna:Q4_K_M"]
    assert all(names.find(name).status.name == name for name in shown)
    assert all(status.served for status in names.models())


def test_a_wrong_name_is_told_the_right_ones() -> None:
    with pytest.raises(ModelNotFound, match="serves no model 'llama'; it serves lmsys/vicuna, "):
        ServedNames((Q8, Q4), TOLD).find("llama")
    with pytest.raises(ModelNotFound, match="it serves nothing"):
        ServedNames((), {}).find("llama")


def test_a_model_before_any_replica_has_told_of_it() -> None:
    names = ServedNames((deployment("one", "demo:F16", 0, state="deploying"),), {})
    assert names.find("one") is names.find("demo:F16")
    assert (names.find("one").status.state, names.find("one").status.name) == ("loading", "demo:F16")


def test_states() -> None:
    for state, n_replicas, wanted in (
        ("ready", 1, "ready"),
        ("deploying", 1, "ready"),
        ("failed", 2, "ready"),
        ("deploying", 0, "loading"),
        ("failed", 0, "failed"),
    ):
        names = ServedNames((deployment("one", "demo", n_replicas, state=state, problem="why"),), {})
        assert (names.find("demo").status.state, names.find("demo").status.problem) == (wanted, "why")


def test_two_deployments_of_one_file_are_both_found() -> None:
    other = deployment("again", "lmsys/vicuna:Q8_0")
    names = ServedNames((Q8, other), {**TOLD, "again": [status("lmsys/vicuna", "Q8_0")]})
    assert names.find("lmsys/vicuna:Q8_0").deployment is Q8
    assert names.find("again").deployment is other
