from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import (
    InvalidReference,
    StoreError,
)
from models.hub.download import HubSettings
from models.paths import Paths
from models.reference import ModelRef
from tests.hub_server import HubServer, Repo
from tests.models.hub.client import WEIGHTS, WEIGHTS_BYTES, Client, same


def test_plan_then_run(client: Client, server: HubServer, repo: Repo, folder: Path) -> None:
    plan = client.plan()
    assert (plan.kind, plan.commit, plan.revision, plan.type) == ("checkpoint", repo.commit, "main", None)
    assert {file.path for file in plan.files} == {
        WEIGHTS,
        "config.json",
        "tokenizer.json",
        "README.md",
        "empty.txt",
    }
    assert plan.cached_bytes == 0
    assert plan.fetch_bytes == plan.total_bytes > WEIGHTS_BYTES
    assert server.sent == []
    snapshot = client.run(plan)
    assert snapshot == plan.snapshot
    assert same(snapshot, folder, *(file.path for file in plan.files))
    assert not (snapshot / "pytorch_model.bin").exists()
    assert client.partials == []
    last = client.progress[-1]
    assert last.bytes_done == last.bytes_total == plan.total_bytes
    assert {event.path for event in client.progress if event.phase == "done"} == {f.path for f in plan.files}


def test_folders_that_cannot_be_written(client: Client, repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home, cache = client.paths.home, client.paths.hf_cache
    client.paths = Paths(home=tmp_path / "file" / "corral", hf_cache=cache)
    with pytest.raises(StoreError, match="CORRAL_HOME"):
        client.pull()
    client.paths = Paths(home=home, hf_cache=tmp_path / "file" / "hub")
    with pytest.raises(StoreError, match="HF_HOME"):
        client.pull()


def test_only_hub_references(client: Client, tmp_path: Path) -> None:
    for text in ("demo", str(tmp_path)):
        with pytest.raises(InvalidReference, match="no Hub repository"):
            client.plan(ModelRef.parse(text))


def test_settings() -> None:
    env = {"HF_ENDPOINT": "http://127.0.0.1:1/", "HF_TOKEN": "secret", "HF_HUB_OFFLINE": "1"}
    settings = HubSettings.from_environment(env)
    assert (settings.endpoint, settings.token, settings.offline) == ("http://127.0.0.1:1", "secret", True)
    assert "secret" not in repr(settings)
    assert not HubSettings.from_environment({"HF_HUB_OFFLINE": "0"}).offline
