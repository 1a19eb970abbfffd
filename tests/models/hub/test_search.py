from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import HubError, HubUnreachable, InvalidReference
from models.hub.search import HubModel, search
from tests.hub_server import HubServer
from tests.models.hub.client import WEIGHTS, WEIGHTS_BYTES, Client


def add(server: HubServer, name: str, folder: Path, downloads: int, **files: int) -> None:
    """Serve a repository with GGUF files of these sizes."""
    folder.mkdir()
    for file, n_bytes in files.items():
        (folder / f"{file.replace('__', '-')}.gguf").write_bytes(bytes(n_bytes))
    server.add(name, folder).downloads = downloads


def find(client: Client, text: str, limit: int = 10) -> list[HubModel]:
    return search(text, limit, client.settings)


def test_names_downloads_and_sizes(client: Client, server: HubServer, folder: Path, tmp_path: Path) -> None:
    tiny = server.add("org/Tiny", folder)
    tiny.downloads, tiny.parameters = 7, 1_500_000
    add(server, "quants/tiny-GGUF", tmp_path / "a", 100, tiny__Q4_K_M=40, tiny__UD__Q4_K_M=30, tiny__Q8_0=80)
    add(server, "other/model", tmp_path / "b", 1000, model__Q8_0=80)
    first, second = find(client, "tiny")
    assert (first.repo, first.downloads) == ("quants/tiny-GGUF", 100)
    assert list(first.ggufs.items()) == [("Q4_K_M", 40), ("Q8_0", 80)]
    assert first.weights_bytes is None
    assert (second.repo, second.ggufs, second.weights_bytes) == ("org/Tiny", {}, WEIGHTS_BYTES)
    assert (first.parameters, second.parameters) == (None, 1_500_000)
    assert second.updated == "2026-01-01"
    assert (folder / WEIGHTS).is_file()
    assert server.sent == []  # nothing is downloaded
    assert [model.repo for model in find(client, "tiny", limit=1)] == ["quants/tiny-GGUF"]
    assert [model.repo for model in find(client, " GGUF tiny ")] == ["quants/tiny-GGUF"]
    assert find(client, "nothing of the sort") == []


def test_what_cannot_be_served_is_listed_with_the_reason(
    client: Client, server: HubServer, tmp_path: Path, folder: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "README.md").write_text("nothing")
    server.add("org/tiny-empty", tmp_path / "empty")
    server.add("org/tiny-gated", folder, gated=True).downloads = 1
    gated, empty = find(client, "tiny")
    assert (gated.is_gated, gated.weights_bytes, gated.problem) == (True, WEIGHTS_BYTES, None)
    assert "org/tiny-empty has no safetensors" in str(empty.problem)


def test_without_a_hub(client: Client, server: HubServer) -> None:
    with pytest.raises(HubUnreachable, match="HF_HUB_OFFLINE is set; unset it to search"):
        find(client.using(offline=True), "tiny")
    assert server.requests == []
    with pytest.raises(HubUnreachable, match="can't be reached"):
        find(client.using(offline=False, endpoint="http://127.0.0.1:9"), "tiny")
    with pytest.raises(HubError, match="answered 404"):
        find(client.using(endpoint=f"{server.url}/no/hub"), "tiny")
    with pytest.raises(InvalidReference, match="no word"):
        find(client, "  ")
