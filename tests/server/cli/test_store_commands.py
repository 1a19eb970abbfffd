"""`corral list`, `show` and `remove` on a store with one model in two types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.manifest import Manifest, ManifestFile, Source
from models.paths import Paths
from models.reference import ModelRef
from models.store import ModelStore
from tests.server.cli.conftest import Corral


@pytest.fixture
def store(env: dict[str, str], tiny_gguf: Path) -> ModelStore:
    store = ModelStore(Paths.from_environment(env))
    with store.staging(ModelRef.parse("org/tiny")) as staging:
        files = []
        for type_ in ("F32", "Q8_0"):
            name = f"tiny.{type_}.gguf"
            (staging.path / name).write_bytes(tiny_gguf.read_bytes())
            files.append(
                ManifestFile.single(type_, name, tiny_gguf.stat().st_size, "0" * 64, bits_per_weight=32.0)
            )
        staging.publish(
            Manifest(
                name="org/tiny",
                source=Source(kind="hub", repo="org/tiny", revision="0123456789abcdef"),
                files=tuple(files),
                created="2026-01-02T03:04:05+00:00",
                architecture="llama",
                parameters=1_410_304,
            )
        )
    return store


def test_an_empty_store(corral: Corral) -> None:
    done = corral("list")
    assert (done.returncode, done.stdout) == (0, "")
    assert "corral quantize demo" in done.stderr
    assert json.loads(corral("list", "--json").stdout) == []


def test_list(corral: Corral, store: ModelStore) -> None:
    lines = corral("list").stdout.splitlines()
    assert lines[0].split() == ["MODEL", "SIZE", "BITS/W", "SOURCE", "FORMAT", "FITS"]
    assert lines[1].split() == ["org/tiny:F32", "5.4", "MiB", "32.00", "org/tiny@01234567", "-", "yes"]
    assert len(lines) == 3
    [first, second] = json.loads(corral("list", "--json").stdout)
    assert (first["type"], second["type"]) == ("F32", "Q8_0")
    assert first["fits"] is True


def test_list_names_what_is_broken(corral: Corral, store: ModelStore) -> None:
    [model] = store.list()
    model.types["Q8_0"].path.write_bytes(b"cut")
    done = corral("list")
    assert len(done.stdout.splitlines()) == 2
    assert "org/tiny:Q8_0" in done.stderr


def test_show(corral: Corral, store: ModelStore) -> None:
    shown = corral("show", "org/tiny:q8_0", "--ctx", "256").stdout
    assert "org/tiny@01234567" in shown
    assert f"sha256 {'0' * 64}" in shown
    assert "tokenizer.ggml.tokens = [448 × str]" in shown
    assert "chat template" in shown
    document = json.loads(corral("show", "org/tiny", "--json").stdout)
    assert [file["type"] for file in document["files"]] == ["F32", "Q8_0"]
    assert document["files"][0]["memory_bytes"] > 0


def test_show_a_file(corral: Corral, tiny_gguf: Path) -> None:
    document = json.loads(corral("show", str(tiny_gguf), "--json").stdout)
    assert document["files"][0]["type"] == "F32"
    assert document["parameters"] == 1_410_304


def test_show_a_malformed_file(corral: Corral, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + b"\xff" * 100)
    done = corral("show", str(bad))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_remove_one_type_then_the_rest(corral: Corral, store: ModelStore) -> None:
    refused = corral("remove", "org/tiny")
    assert refused.returncode == 1
    assert "--yes" in refused.stderr
    assert corral("remove", "org/tiny:Q8_0", "--yes").returncode == 0
    [model] = store.list()
    assert list(model.types) == ["F32"]
    done = corral("remove", "org/tiny", "-y")
    assert "removed org/tiny (F32); 5.4 MiB are free again" in done.stderr
    assert store.list() == []
    assert corral("remove", "org/tiny", "-y").returncode == 1


def test_a_served_file_is_not_removed(corral: Corral, store: ModelStore) -> None:
    [model] = store.list()
    with store.use(model.types["F32"].path):
        done = corral("remove", "org/tiny:F32", "--yes")
    assert done.returncode == 1
    assert "is being served" in done.stderr
