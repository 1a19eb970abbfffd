"""The loopback Hub against huggingface_hub itself: what its own client accepts is the Hub's protocol."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub_server import HubServer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text('{"a": 1}')
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 1000)
    (folder / "sub" / "x.txt").write_text("x")
    return folder


def test_the_library_is_content(folder: Path, tmp_path: Path) -> None:
    with HubServer() as hub:
        repo = hub.add("org/name", folder)
        api = HfApi(endpoint=hub.url, token=False)
        info = api.model_info("org/name", files_metadata=True)
        assert info.sha == repo.commit
        assert {s.rfilename for s in info.siblings or ()} == {"config.json", "model.safetensors", "sub/x.txt"}
        assert api.model_info("org/name", revision=repo.commit[:8]).sha == repo.commit
        tree = list(api.list_repo_tree("org/name", recursive=True))
        assert {entry.path for entry in tree} == {"config.json", "model.safetensors", "sub/x.txt"}
        path = snapshot_download("org/name", endpoint=hub.url, token=False, cache_dir=tmp_path / "cache")
        for file in ("config.json", "model.safetensors", "sub/x.txt"):
            assert (Path(path) / file).read_bytes() == (folder / file).read_bytes()
        assert hub.downloads("model.safetensors")


def test_revisions(folder: Path) -> None:
    with HubServer() as hub:
        repo = hub.add("org/name", folder)
        old = repo.commit
        (folder / "config.json").write_text("{}")
        repo.push(folder, "main", "v2")
        api = HfApi(endpoint=hub.url, token=False)
        assert api.model_info("org/name").sha == api.model_info("org/name", revision="v2").sha == repo.commit
        assert api.model_info("org/name", revision=old).sha == old != repo.commit
        with pytest.raises(RevisionNotFoundError):
            api.model_info("org/name", revision="v3")


def test_access(folder: Path, tmp_path: Path) -> None:
    with HubServer() as hub:
        hub.users = {"good": "jo", "other": "al"}
        gated, private = (
            hub.add("org/gated", folder, gated=True),
            hub.add("org/private", folder, private=True),
        )
        gated.readers.add("good")
        private.readers.add("good")
        api = HfApi(endpoint=hub.url)
        for token in (False, "other"):
            with pytest.raises(RepositoryNotFoundError):
                api.model_info("org/private", token=token)
            assert api.model_info("org/gated", token=token).gated == "manual"
            with pytest.raises(GatedRepoError):
                api.auth_check("org/gated", token=token)
            with pytest.raises(GatedRepoError):
                hf_hub_download(
                    "org/gated", "config.json", endpoint=hub.url, token=token, cache_dir=tmp_path / "cache"
                )
        api.auth_check("org/gated", token="good")
        assert api.whoami("good")["name"] == "jo"
        with pytest.raises(RepositoryNotFoundError):
            api.model_info("org/none", token="good")
        with pytest.raises(HfHubHTTPError):
            api.model_info("org/gated", token="bad")
        path = hf_hub_download(
            "org/gated", "model.safetensors", endpoint=hub.url, token="good", cache_dir=tmp_path / "cache"
        )
        assert Path(path).stat().st_size == 256_000
        assert hub.leaked_tokens == []


def test_faults(folder: Path, tmp_path: Path) -> None:
    with HubServer() as hub:
        repo = hub.add("org/name", folder)
        repo.fault("config.json", missing=True)
        with pytest.raises(RemoteEntryNotFoundError):
            hf_hub_download(
                "org/name", "config.json", endpoint=hub.url, token=False, cache_dir=tmp_path / "c"
            )
        repo.fault("model.safetensors", corrupt=True, times=1)
        path = hf_hub_download(
            "org/name", "model.safetensors", endpoint=hub.url, token=False, cache_dir=tmp_path / "c"
        )
        assert Path(path).read_bytes() != (folder / "model.safetensors").read_bytes()
        repo.fault("model.safetensors", break_after=100_000, times=1)
        path = hf_hub_download(
            "org/name", "model.safetensors", endpoint=hub.url, token=False, cache_dir=tmp_path / "d"
        )
        assert Path(path).read_bytes() == (folder / "model.safetensors").read_bytes()
