"""The index of shards decides what is downloaded where the listing leaves it open."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from models.errors import HubError, HubUnreachable
from tests.hub_server import HubServer
from tests.models.hub.client import Client

INDEX = "model.safetensors.index.json"
TWO = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
THREE = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]


def publish(server: HubServer, folder: Path, names: Sequence[str], index: str | Sequence[str]) -> None:
    folder.mkdir()
    for name in ("config.json", *names):
        (folder / name).write_bytes(name.encode())
    content = {"weight_map": {f"of {name}": name for name in index}}
    (folder / INDEX).write_text(index if isinstance(index, str) else json.dumps(content))
    server.add("org/name", folder)


def weights(client: Client) -> list[str]:
    return [file.path for file in client.plan().files if file.path.endswith((".safetensors", ".bin"))]


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        ([*TWO, *THREE], THREE),
        ([*TWO, *THREE], TWO),
        ([*TWO, "mtp.safetensors"], [*TWO, "mtp.safetensors"]),
        ([*TWO, "model.fp16.safetensors"], TWO),
        (["a.safetensors", "b.safetensors", "consolidated.safetensors"], ["a.safetensors", "b.safetensors"]),
        ([*TWO, THREE[0]], TWO),
    ],
)
def test_what_it_lists_is_downloaded(
    client: Client, server: HubServer, tmp_path: Path, names: list[str], listed: list[str]
) -> None:
    publish(server, tmp_path / "published", names, listed)
    assert weights(client) == sorted(listed)
    snapshot = client.pull()
    assert {path.name for path in snapshot.iterdir()} == {"config.json", INDEX, *listed}
    client.using(offline=True)
    assert weights(client) == sorted(listed)


def test_it_isnt_fetched_where_nothing_is_open(client: Client, server: HubServer, tmp_path: Path) -> None:
    publish(server, tmp_path / "published", THREE, THREE)
    assert weights(client) == THREE
    assert server.sent == []


def test_of_a_whole_file_it_stays_there(client: Client, server: HubServer, tmp_path: Path) -> None:
    publish(server, tmp_path / "published", ["model.safetensors", THREE[0]], THREE)
    assert {path.name for path in client.pull().iterdir()} == {"config.json", "model.safetensors"}


def test_of_files_that_are_gone_it_is_left_aside(client: Client, server: HubServer, tmp_path: Path) -> None:
    publish(server, tmp_path / "published", [*TWO, "mtp.safetensors"], THREE)
    assert weights(client) == TWO


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        ([*TWO, "mtp.safetensors", "gone.safetensors"], "names gone.safetensors, which is missing"),
        (["../x.safetensors"], "outside its folder"),
        ("{", "can't be read"),
        ("{}", "no usable weight_map"),
    ],
)
def test_one_that_cant_be_followed(
    client: Client, server: HubServer, tmp_path: Path, index: str | list[str], reason: str
) -> None:
    publish(server, tmp_path / "published", [*TWO, "mtp.safetensors"], index)
    with pytest.raises(HubError, match=f"org/name.*{reason}|{reason}"):
        client.plan()


def test_without_it_and_without_a_connection(client: Client, server: HubServer, tmp_path: Path) -> None:
    publish(server, tmp_path / "published", [*TWO, "mtp.safetensors"], TWO)
    snapshot = client.pull()
    (snapshot / INDEX).resolve().unlink()
    client.using(offline=True)
    with pytest.raises(HubUnreachable, match=f"lacks {INDEX}"):
        client.plan()
