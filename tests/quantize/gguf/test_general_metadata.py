"""The `general.` keys: from names, the model card and generation_config.json, whatever state those are in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quantize.gguf.general_metadata import general_metadata
from quantize.gguf.parameter_count import ParameterCount
from tests.pico import write_json
from tests.quantize.variants import MODEL_CARD

SIZE = ParameterCount(total=3_000_000, shared=3_000_000, per_expert=0, n_experts=0)


def keys(directory: Path, name: str | None = None) -> dict[str, Any]:
    return {key: value.data for key, value in general_metadata(directory, {}, name, SIZE).items()}


def test_names_are_taken_apart(tmp_path: Path) -> None:
    found = keys(tmp_path, "someone/Tiny-Llama-3M-Chat-v0.2")
    assert found["general.name"] == "Tiny Llama 3M Chat v0.2"
    assert found["general.organization"] == "Someone"
    assert found["general.basename"] == "Tiny-Llama"
    assert found["general.finetune"] == "Chat"
    assert found["general.version"] == "v0.2"
    assert found["general.size_label"] == "3M"
    assert found["general.type"] == "model"


@pytest.mark.parametrize("origin", [[[1]], {"a": 1}, 7, True, None, "", "/", "a/", "/a", "a/b/c", "\n"])
def test_an_origin_that_is_no_name_does_no_harm(tmp_path: Path, origin: Any) -> None:
    found = general_metadata(tmp_path, {"_name_or_path": origin}, None, SIZE)
    assert found["general.name"].data
    assert found["general.size_label"].data


def test_a_folder_names_itself(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    assert keys(folder)["general.name"] == "Plain"
    assert keys(folder)["general.size_label"] == "3.0M"


def test_the_model_card(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(MODEL_CARD, encoding="utf-8")
    found = keys(tmp_path, "x")
    assert found["general.license"] == "apache-2.0"
    assert found["general.languages"] == ["en", "no"]
    assert found["general.tags"] == ["text-generation", "pico"]
    assert found["general.base_model.count"] == 1


@pytest.mark.parametrize(
    "card",
    [
        "---\n[\n---\n",
        "---\nlicense: {a: 1}\n---\n",
        "---\nlicense: 3.5\ntags: 7\nlanguage: [1, 2]\n---\n",
        "---\nlicense: [1, 2]\n---\n",
        "---\nbase_model: [[1]]\n---\n",
        "---\n- 1\n---\n",
        "---",
        "no front matter",
    ],
)
def test_a_broken_card_costs_its_own_keys_only(tmp_path: Path, card: str) -> None:
    (tmp_path / "README.md").write_text(card, encoding="utf-8")
    found = keys(tmp_path, "someone/Tiny-3M")
    assert found["general.name"] == "Tiny 3M"
    assert "general.license" not in found


def test_what_the_makers_sample_with(tmp_path: Path) -> None:
    write_json(
        tmp_path / "generation_config.json",
        {"temperature": 0.6, "top_k": 20, "top_p": "high", "min_p": True, "repetition_penalty": 1.1},
    )
    found = keys(tmp_path, "x")
    assert found["general.sampling.temp"] == 0.6
    assert found["general.sampling.top_k"] == 20
    assert found["general.sampling.penalty_repeat"] == 1.1
    assert "general.sampling.top_p" not in found
    assert "general.sampling.min_p" not in found
    (tmp_path / "generation_config.json").write_text("{")
    assert "general.sampling.temp" not in keys(tmp_path, "x")
