from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.errors import ModelNotFound
from models.imports.candidate import Candidate
from models.imports.lm_studio import lm_studio_candidates, lm_studio_folders


def lay_out(folder: Path, *names: str) -> dict[str, Candidate]:
    """Write files by these names; return what is made of the folder, by its label."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"GGUF")
    return {candidate.label: candidate for candidate in lm_studio_candidates(folder)}


def test_files_of_a_model(tmp_path: Path) -> None:
    label = "lmstudio-community/Qwen3-4B-GGUF/Qwen3-4B-Q4_K_M.gguf"
    candidates = lay_out(tmp_path, label, "lmstudio-community/Qwen3-4B-GGUF/Qwen3-4B-Q8_0.gguf")
    assert len(candidates) == 2
    one = candidates[label]
    assert (one.title, one.type_hint) == ("lmstudio-community/Qwen3-4B-GGUF", "Q4_K_M")
    assert one.names == (
        "lmstudio-community/Qwen3-4B-GGUF",
        "lmstudio-community/Qwen3-4B-Q4_K_M",
        "lm-studio/lmstudio-community-Qwen3-4B-Q4_K_M",
    )
    assert [(part.path, part.size_bytes, part.sha256) for part in one.parts] == [(tmp_path / label, 4, None)]


def test_parts_are_one_model_and_must_all_be_there(tmp_path: Path) -> None:
    names = [f"a/b/x-Q8_0-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    [whole] = lay_out(tmp_path / "whole", *names).values()
    assert [part.path.name for part in whole.parts] == [Path(name).name for name in names]
    [cut] = lay_out(tmp_path / "cut", *names[1:]).values()
    assert "x-Q8_0-00001-of-00003.gguf can't be read: No such file" in str(cut.problem)


def test_a_projector_is_none_and_goes_with_its_model(tmp_path: Path) -> None:
    candidates = lay_out(tmp_path, "a/b/mmproj-b-f16.gguf", "a/b/mmproj-b-f32.gguf", "a/b/b-Q4_0.gguf")
    assert "projector" in str(candidates["a/b/mmproj-b-f16.gguf"].problem)
    assert candidates["a/b/b-Q4_0.gguf"].problem is None
    eyes = candidates["a/b/b-Q4_0.gguf"].projector
    assert eyes is not None
    assert eyes.path.name == "mmproj-b-f16.gguf"


def test_what_is_no_gguf(tmp_path: Path) -> None:
    candidates = lay_out(
        tmp_path,
        *("a/mlx/model-00001-of-00002.safetensors", "a/mlx/model-00002-of-00002.safetensors"),
        *("a/b/x.gguf.part", "a/.hidden/x.gguf", "a/b/.x.gguf", "a/b/c/d/e/f/g/deep.gguf"),
    )
    assert list(candidates) == ["a/mlx"]
    assert f"corral quantize {tmp_path / 'a/mlx'}" in str(candidates["a/mlx"].problem)


def test_files_in_other_places_have_their_own_names(tmp_path: Path) -> None:
    candidates = lay_out(tmp_path, "loose.gguf", "a/half loose.gguf", "a/b/sub/x-Q4_0.gguf")
    assert candidates["loose.gguf"].names[0] == "loose"
    assert candidates["a/half loose.gguf"].names[0] == "half-loose"
    assert candidates["a/b/sub/x-Q4_0.gguf"].names[0] == "a/b"


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").symlink_to(tmp_path)
    assert len(lay_out(tmp_path, "a/x.gguf")) < 10


def test_where_the_folders_are(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="--from"):
        lm_studio_folders(None, tmp_path)
    old, new, other = tmp_path / ".cache/lm-studio/models", tmp_path / ".lmstudio/models", tmp_path / "other"
    for folder in (old, new, other):
        folder.mkdir(parents=True)
    assert lm_studio_folders(None, tmp_path) == [new, old]
    settings = tmp_path / ".lmstudio" / "settings.json"
    settings.write_text(json.dumps({"downloadsFolder": str(other)}))
    assert lm_studio_folders(None, tmp_path) == [other, new, old]
    settings.write_text("[" * 100_000)
    assert lm_studio_folders(None, tmp_path) == [new, old]
    (tmp_path / ".lmstudio-home-pointer").write_text(f"{tmp_path / 'moved'}\n")
    (tmp_path / "moved" / "models").mkdir(parents=True)
    assert lm_studio_folders(None, tmp_path)[0] == tmp_path / "moved" / "models"
    assert lm_studio_folders(tmp_path / ".lmstudio", tmp_path) == [new]
    assert lm_studio_folders(other, tmp_path) == [other]
    other.rmdir()
    with pytest.raises(ModelNotFound):
        lm_studio_folders(other, tmp_path)
