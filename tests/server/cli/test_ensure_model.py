from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import InvalidGGUF
from models.paths import Paths
from models.quantization_types import DEFAULT_TYPES
from models.reference import ModelRef
from models.store.manifest import Manifest, ManifestFile, Source
from models.store.store import ModelStore, StoredModel
from server.cli import ensure_model as obtain_module
from server.cli.ensure_model import best_type, missing_types, obtain

ORG = ModelRef.parse("org/name")
DEMO = ModelRef.parse("demo")


def publish(store: ModelStore, *types: str, name: str = "org/name") -> StoredModel:
    source = Source(kind="hub", repo=name, revision="abc")
    with store.staging(ModelRef.parse(name)) as staging:
        for type_ in types:
            (staging.path / type_).write_bytes(b"123")
        files = tuple(ManifestFile.single(type_, type_, 3, "0") for type_ in types)
        return staging.publish(
            Manifest(name=name, source=source, files=files, created="2026-01-02T03:04:05+00:00")
        )


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(Paths(home=tmp_path / "home", hf_cache=tmp_path / "hf"))


def test_what_is_missing_of_a_model_that_is_not_here() -> None:
    assert missing_types(ORG, None, "Q4_K_M") == ("Q4_K_M",)
    assert missing_types(ORG.with_type("Q8_0"), None, "Q4_K_M") == ("Q8_0",)
    assert missing_types(DEMO, None, "Q4_K_M") == DEFAULT_TYPES
    assert missing_types(DEMO.with_type("Q8_0"), None, "Q4_K_M") == ("Q8_0",)


def test_what_is_missing_of_a_model_that_is_here(store: ModelStore) -> None:
    model = publish(store, "Q8_0", "Q4_K_M")
    assert missing_types(ORG, model, "Q5_K_M") == ()
    assert missing_types(ORG.with_type("Q8_0"), model, "Q4_K_M") == ()
    assert missing_types(ORG.with_type("Q5_K_M"), model, "Q4_K_M") == ("Q5_K_M",)
    assert missing_types(DEMO, model, "Q4_K_M") == ("Q5_K_M",)


def test_the_default_type_serves_the_plain_name(store: ModelStore) -> None:
    model = publish(store, "Q8_0", "Q4_K_M", "Q2_K")
    assert best_type(model, "Q2_K") == "Q2_K"
    assert best_type(model, "Q5_K_M") == "Q4_K_M"


def test_what_is_here_is_not_made_again(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obtain_module, "make", lambda *_: pytest.fail("made again"))
    publish(store, "Q8_0", "Q4_K_M")
    assert obtain(ORG, store, "Q4_K_M").key == "org/name:Q4_K_M"
    assert obtain(ORG.with_type("Q8_0"), store, "Q4_K_M").key == "org/name:Q8_0"


def test_what_is_missing_is_made_first(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def make(ref: ModelRef, types: tuple[str, ...], where: ModelStore) -> None:
        made.append((str(ref), types))
        publish(where, *types)

    monkeypatch.setattr(obtain_module, "make", make)
    assert obtain(ORG.with_type("Q5_K_M"), store, "Q4_K_M").key == "org/name:Q5_K_M"
    assert made == [("org/name:Q5_K_M", ("Q5_K_M",))]


def test_a_file_is_served_as_it_is(store: ModelStore, tiny_gguf: Path) -> None:
    entry = obtain(ModelRef.parse(str(tiny_gguf)), store, "Q4_K_M")
    assert (entry.key, entry.path) == ("tiny:F32", tiny_gguf)


def test_a_malformed_file_is_refused(store: ModelStore, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"no model")
    with pytest.raises(InvalidGGUF):
        obtain(ModelRef.parse(str(bad)), store, "Q4_K_M")
