from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import snapshot_download

from models.errors import (
    DiskFull,
    HubUnreachable,
)
from models.reference import ModelRef
from tests.hub_server import HubServer, Repo
from tests.models.hub.client import REF, WEIGHTS, WEIGHTS_BYTES, Client, same


def test_offline(client: Client, server: HubServer, repo: Repo, folder: Path) -> None:
    client.using(offline=True)
    with pytest.raises(HubUnreachable, match="HF_HUB_OFFLINE is set, and org/name is not in"):
        client.plan()
    client.using(offline=False)
    snapshot = client.pull()
    requests = len(server.requests)
    client.using(offline=True)
    assert same(client.pull(), folder, WEIGHTS, "config.json")
    assert client.pull(ModelRef.parse(f"org/name@{repo.commit}")) == snapshot
    assert len(server.requests) == requests
    (snapshot / "tokenizer.json").resolve().unlink()
    with pytest.raises(HubUnreachable, match=r"the cache lacks tokenizer\.json of org/name"):
        client.plan()


def test_offline_with_what_another_tool_fetched(
    client: Client, server: HubServer, repo: Repo, folder: Path
) -> None:
    cache = client.paths.hf_cache
    snapshot_download("org/name", cache_dir=cache, endpoint=server.url, token=False)
    client.using(offline=True)
    assert same(client.pull(), folder, WEIGHTS, "config.json")


def test_offline_bytes_that_rotted(client: Client, repo: Repo) -> None:
    blob = (client.pull() / WEIGHTS).resolve()
    blob.write_bytes(b"y" * WEIGHTS_BYTES)
    client.using(offline=True)
    with pytest.raises(HubUnreachable, match="not right in the cache"):
        client.pull()


def test_revisions(client: Client, repo: Repo, folder: Path) -> None:
    first = client.pull()
    (folder / "config.json").write_text("{}")
    repo.push(folder, "main", "v2")
    second = client.pull()
    assert first != second
    assert (first / "config.json").read_text() != (second / "config.json").read_text() == "{}"
    assert client.pull(ModelRef.parse("org/name@v2")) == second
    assert client.pull(ModelRef.parse(f"org/name@{first.name}")) == first


def test_a_full_disk_is_seen_beforehand(client: Client, repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(DiskFull, match="HF_HOME"):
        client.plan()


def test_gguf(client: Client, server: HubServer, tmp_path: Path) -> None:
    folder = tmp_path / "ggufs"
    folder.mkdir()
    for name in ("m-Q4_K_M.gguf", "m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf", "README.md"):
        (folder / name).write_text(name)
    server.add("org/name", folder)
    plan = client.plan(ModelRef.parse("org/name:8bit"))
    assert (plan.kind, plan.type) == ("gguf", "Q8_0")
    snapshot = client.run(plan)
    assert [path.read_text() for path in plan.gguf_paths] == [
        "m-Q8_0-00001-of-00002.gguf",
        "m-Q8_0-00002-of-00002.gguf",
    ]
    assert not (snapshot / "m-Q4_K_M.gguf").exists()
    assert [file.path for file in client.plan(REF, "*Q4_K_M*").files] == ["m-Q4_K_M.gguf"]
