from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import gguf
import pytest

from models.errors import ModelNotFound
from models.imports.candidate import Candidate
from models.imports.importer import Importer, Outcome
from models.imports.lm_studio import lm_studio_candidates
from models.imports.ollama import ollama_candidates
from models.reference import ModelRef
from models.store.manifest import Manifest, ManifestFile, Source
from models.store.store import ModelStore
from quantize.job.ensure_model import ensure_model
from quantize.job.update import update_model
from server.supervisor.catalogue import Catalogue, store_entries
from tests.models.imports.other_programs import OllamaFolder
from tests.quantize.projectors.checkpoints import write_projector


def another(weights: bytes) -> bytes:
    """Return a model of other weights."""
    return weights[:-1] + bytes([weights[-1] ^ 1])


def run_all(store: ModelStore, candidates: list[Candidate]) -> list[Outcome]:
    return [Importer(store).run(candidate) for candidate in candidates]


def import_one(store: ModelStore, ollama: OllamaFolder) -> Outcome:
    [outcome] = run_all(store, ollama_candidates(ollama.folder))
    return outcome


@pytest.fixture
def blob(ollama: OllamaFolder, weights: bytes) -> Path:
    """The blob of `tiny:latest`."""
    layer = ollama.layer("model", weights)
    ollama.add("tiny:latest", layer)
    return ollama.path(layer["digest"])


def test_the_projector_comes_along(store: ModelStore, weights: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "lm-studio" / "owner" / "tiny"
    folder.mkdir(parents=True)
    (folder / "tiny-F32.gguf").write_bytes(weights)
    write_projector(folder / "mmproj-tiny-F16.gguf", tmp_path)
    _, seeing = run_all(store, lm_studio_candidates(folder.parents[1]))
    assert (seeing.state, seeing.remarks) == ("imported", ())
    [model] = store.list()
    assert model.projector is not None
    assert model.projector.samefile(folder / "mmproj-tiny-F16.gguf")
    (folder / "mmproj-tiny-F16.gguf").write_bytes(weights)
    store.remove(ModelRef.parse("owner/tiny"))
    _, blind = run_all(store, lm_studio_candidates(folder.parents[1]))
    assert (blind.state, store.list()[0].projector) == ("imported", None)
    assert "isn't taken over, it reads text alone here" in blind.remarks[0]


def test_a_hard_link_outlives_the_other_programs_name(
    store: ModelStore, ollama: OllamaFolder, blob: Path
) -> None:
    outcome = import_one(store, ollama)
    assert (outcome.state, str(outcome.model), outcome.link) == ("imported", "tiny:F32", "hard")
    [model] = store.list()
    file = model.types["F32"]
    assert file.path.samefile(blob)
    assert (file.linked, file.own_bytes) == (False, 0)
    assert f"sha256-{file.sha256[0]}" == blob.name
    assert (model.manifest.source.program, model.manifest.source.title) == ("ollama", "tiny:latest")
    assert model.manifest.parameters
    blob.unlink()
    assert store.get(ModelRef.parse("tiny")).types["F32"].own_bytes == file.size_bytes


def test_removing_the_model_leaves_the_other_programs_file(
    store: ModelStore, ollama: OllamaFolder, blob: Path, weights: bytes
) -> None:
    import_one(store, ollama)
    store.remove(ModelRef.parse("tiny"))
    assert store.list() == []
    assert blob.read_bytes() == weights
    assert blob.stat().st_nlink == 1


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_without_hard_links_it_is_referred_to(
    store: ModelStore,
    ollama: OllamaFolder,
    blob: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number), str(target))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    outcome = import_one(store, ollama)
    assert (outcome.state, outcome.link, outcome.path) == ("imported", "reference", blob)
    assert import_one(store, ollama).state == "here"
    [model] = store.list()
    assert model.types["F32"].linked
    assert not any(store.paths.staging_dir.iterdir())
    aside = blob.rename(blob.with_name("aside"))
    [problem] = store.scan().problems
    assert f"tiny:F32: {blob} is missing; run: corral import ollama tiny:latest" in problem
    aside.rename(blob)
    store.remove(ModelRef.parse("tiny"))
    assert blob.is_file()


def test_again_is_nothing_and_a_newer_file_takes_the_place(
    store: ModelStore, ollama: OllamaFolder, blob: Path, weights: bytes
) -> None:
    assert import_one(store, ollama).state == "imported"
    assert import_one(store, ollama).state == "here"
    served = store_entries(store)
    newer = another(weights)
    ollama.add("tiny:latest", ollama.layer("model", newer))
    again = import_one(store, ollama)
    assert (again.state, str(again.model)) == ("imported", "tiny:F32")
    [model] = store.list()
    assert model.types["F32"].path.read_bytes() == newer
    assert blob.stat().st_nlink == 1  # the older one is let go
    [entry] = Catalogue(served, lambda: store_entries(store)).entries()
    assert entry.path == again.path  # a server that has the older one takes the newer one up


def test_a_damaged_blob_is_refused_and_leaves_nothing(
    store: ModelStore, ollama: OllamaFolder, blob: Path
) -> None:
    with blob.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    outcome = import_one(store, ollama)
    assert outcome.state == "refused"
    assert "hasn't the sha256 of its name" in str(outcome.problem)
    assert store.scan().models == ()
    assert not any(store.paths.staging_dir.iterdir())
    assert blob.stat().st_nlink == 1


def test_an_interrupted_import_leaves_nothing(store: ModelStore, ollama: OllamaFolder, blob: Path) -> None:
    def interrupt(_n_bytes: int) -> None:
        raise KeyboardInterrupt

    [candidate] = ollama_candidates(ollama.folder)
    with pytest.raises(KeyboardInterrupt):
        Importer(store, interrupt).run(candidate)
    assert store.list() == []
    assert not any(store.paths.staging_dir.iterdir())
    assert blob.stat().st_nlink == 1


def test_a_file_that_grows_meanwhile_is_refused(store: ModelStore, tmp_path: Path, weights: bytes) -> None:
    path = tmp_path / "lm" / "a" / "b" / "x.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(weights)

    def grow(_n_bytes: int) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    [candidate] = lm_studio_candidates(tmp_path / "lm")
    outcome = Importer(store, grow).run(candidate)
    assert "changed while it was read" in str(outcome.problem)
    assert store.list() == []


def write_foreign(path: Path, architecture: str, *tensors: str) -> bytes:
    """Write a file with a tensor that llama.cpp has no place for, or an architecture that it doesn't know."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no model at all", "no valid GGUF"),
        (b"GGUF" + b"\xff" * 100, "no valid GGUF"),
        ("gptoss", "unknown model architecture: 'gptoss'"),
        ("clip", "is no model"),
    ],
)
def test_what_is_not_servable_is_refused_by_name(
    store: ModelStore, ollama: OllamaFolder, tmp_path: Path, content: bytes | str, reason: str
) -> None:
    data = write_foreign(tmp_path / "foreign.gguf", content) if isinstance(content, str) else content
    ollama.add("odd:latest", ollama.layer("model", data))
    outcome = import_one(store, ollama)
    assert (outcome.state, outcome.candidate.label) == ("refused", "odd:latest")
    assert reason in str(outcome.problem)
    assert store.list() == []


def test_a_picture_encoder_in_the_models_own_file_is_refused(
    store: ModelStore, ollama: OllamaFolder, weights: bytes, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.gguf"
    plain.write_bytes(weights)
    reader = gguf.GGUFReader(plain)
    with_eyes = tmp_path / "eyes.gguf"
    writer = gguf.GGUFWriter(with_eyes, "llama")
    for field in reader.fields.values():
        if field.name.startswith(("GGUF.", "general.architecture")):
            continue
        kinds = field.types
        writer.add_key_value(field.name, field.contents(), kinds[0], kinds[-1] if len(kinds) > 1 else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    writer.add_tensor("v.blk.0.attn_q.weight", reader.tensors[0].data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    ollama.add("eyes:latest", ollama.layer("model", with_eyes.read_bytes()))
    outcome = import_one(store, ollama)
    assert "wrong number of tensors" in str(outcome.problem)


def test_names_that_others_have(store: ModelStore, ollama: OllamaFolder, blob: Path, weights: bytes) -> None:
    source = Source(kind="path", path="/elsewhere/tiny", revision="local-1")
    with store.staging(ModelRef.parse("tiny")) as staging:
        (staging.path / "tiny.gguf").write_bytes(b"mine")
        staging.publish(
            Manifest(
                name="tiny",
                source=source,
                created="x",
                files=(ManifestFile.single("F32", "tiny.gguf", 4, "0" * 64),),
            )
        )
    assert str(import_one(store, ollama).model) == "ollama/tiny:F32"
    ollama.add("tiny:latest-f32", ollama.layer("model", another(weights)))
    outcomes = run_all(store, ollama_candidates(ollama.folder))
    assert [(outcome.state, str(outcome.model)) for outcome in outcomes] == [
        ("here", "ollama/tiny:F32"),
        ("imported", "tiny-latest:F32"),
    ]


def test_lm_studios_types_are_one_model(store: ModelStore, tmp_path: Path, weights: bytes) -> None:
    folder = tmp_path / "lm" / "pub" / "tiny-GGUF"
    folder.mkdir(parents=True)
    (folder / "tiny-F32.gguf").write_bytes(weights)
    [first] = run_all(store, lm_studio_candidates(tmp_path / "lm"))
    assert str(first.model) == "pub/tiny-GGUF:F32"
    assert import_names(store, tmp_path / "lm") == ["here pub/tiny-GGUF:F32"]
    (folder / "tiny-UD-F32.gguf").write_bytes(another(weights))
    assert import_names(store, tmp_path / "lm") == [
        "here pub/tiny-GGUF:F32",
        "imported pub/tiny-UD-F32:F32",
    ]
    assert import_names(store, tmp_path / "lm") == ["here pub/tiny-GGUF:F32", "here pub/tiny-UD-F32:F32"]
    [one, _] = store.list()
    assert one.types["F32"].path.name == "tiny-F32.gguf"


def import_names(store: ModelStore, folder: Path) -> list[str]:
    outcomes = run_all(store, lm_studio_candidates(folder))
    return [f"{outcome.state} {outcome.model}" for outcome in outcomes]


def test_a_plan_changes_nothing_and_gives_no_name_twice(
    store: ModelStore, ollama: OllamaFolder, blob: Path, weights: bytes
) -> None:
    ollama.add("tiny:f32", ollama.layer("model", another(weights)))
    importer = Importer(store)
    outcomes = [importer.plan(candidate) for candidate in ollama_candidates(ollama.folder)]
    assert [(outcome.state, str(outcome.model)) for outcome in outcomes] == [
        ("planned", "tiny:F32"),
        ("planned", "ollama/tiny:F32"),
    ]
    assert not store.paths.home.exists()


def test_an_imported_model_is_updated_by_its_program(
    store: ModelStore, ollama: OllamaFolder, blob: Path
) -> None:
    import_one(store, ollama)
    with pytest.raises(ModelNotFound, match="corral import ollama tiny:latest"):
        update_model(ModelRef.parse("tiny"), store)
    made: list[str] = []
    with pytest.raises(ModelNotFound, match="imported as F32; another type can be made of its file"):
        ensure_model(ModelRef.parse("tiny:Q8_0"), store, "Q4_K_M", lambda ref, *_: made.append(str(ref)))
    assert made == []
    ensured = ensure_model(ModelRef.parse("tiny"), store, "Q4_K_M", lambda ref, *_: made.append(str(ref)))
    assert ensured.path.samefile(blob)


def test_a_blob_that_is_a_link_of_its_owner(store: ModelStore, ollama: OllamaFolder, blob: Path) -> None:
    """People move Ollama's large blobs to another folder, and leave links."""
    target = blob.with_name("moved")
    shutil.move(blob, target)
    blob.symlink_to(target)
    outcome = import_one(store, ollama)
    assert outcome.link == "hard"
    assert outcome.path is not None
    assert outcome.path.samefile(target)
    assert not outcome.path.is_symlink()
