"""Sentence-transformers' files: pooling and prompts get into the file's metadata, of every family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.errors import CheckpointError
from quantize.architectures.base.sentence_files import CLS, LAST, MEAN, pooling_type, sentence_metadata
from quantize.architectures.registry import architecture_of
from quantize.checkpoint.sentence_modules import DenseLayer
from tests.pico import write_json

BERT: dict[str, Any] = {"architectures": ["BertModel"], "num_hidden_layers": 1}
QWEN3: dict[str, Any] = {"architectures": ["Qwen3ForCausalLM"], "num_hidden_layers": 1}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"pooling_mode_mean_tokens": True}, MEAN),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, CLS),
        ({"pooling_mode_lasttoken": True}, LAST),
        ({"pooling_mode": "cls"}, CLS),
    ],
)
def test_pooling(settings: dict[str, Any], expected: int, tmp_path: Path) -> None:
    write_pooling(tmp_path, "1_Pooling")
    (tmp_path / "1_Pooling").mkdir()
    write_json(tmp_path / "1_Pooling" / "config.json", settings)
    assert pooling_type(tmp_path) == expected
    assert architecture_of(BERT).folder_metadata(tmp_path)["bert.pooling_type"].data == expected


def test_a_pooling_that_llama_cpp_lacks(tmp_path: Path) -> None:
    assert pooling_type(tmp_path) is None
    write_pooling(tmp_path, "1_Pooling")
    (tmp_path / "1_Pooling").mkdir()
    wrong: list[dict[str, Any]] = [
        {"pooling_mode_max_tokens": True},
        {"pooling_mode": ["mean"]},
        {"pooling_mode": {}},
    ]
    for settings in wrong:
        write_json(tmp_path / "1_Pooling" / "config.json", settings)
        with pytest.raises(CheckpointError, match="a pooling that llama"):
            pooling_type(tmp_path)


@pytest.mark.parametrize("path", ["a\0b", "half: \ud83d", "x" * 100_000])
def test_folders_that_cannot_be_are_named_in_short(path: str, tmp_path: Path) -> None:
    write_pooling(tmp_path, path)
    with pytest.raises(CheckpointError, match=r"modules\.json names the folder") as found:
        pooling_type(tmp_path)
    assert len(found.value.message) < 200


@pytest.mark.parametrize("path", ["../x", "/etc", "", 3])
def test_folders_outside(path: object, tmp_path: Path) -> None:
    write_pooling(tmp_path, path)
    with pytest.raises(CheckpointError, match="outside its own"):
        pooling_type(tmp_path)


def write_pooling(directory: Path, path: object) -> None:
    modules = [{"type": "x.Transformer"}, {"type": "x.Pooling", "path": path}]
    (directory / "modules.json").write_text(json.dumps(modules), encoding="utf-8")


def test_a_causal_embedder_has_its_pooling(tmp_path: Path) -> None:
    write_pooling(tmp_path, "1_Pooling")
    (tmp_path / "1_Pooling").mkdir()
    write_json(tmp_path / "1_Pooling" / "config.json", {"pooling_mode_lasttoken": True})
    assert architecture_of(QWEN3).folder_metadata(tmp_path)["qwen3.pooling_type"].data == LAST


def test_prompts_get_into_the_file(tmp_path: Path) -> None:
    write_pooling(tmp_path, "1_Pooling")
    (tmp_path / "1_Pooling").mkdir()
    write_json(tmp_path / "1_Pooling" / "config.json", {"pooling_mode_lasttoken": True})
    prompts = {"query": "Find: ", "document": "", "s2s": "Same: "}
    settings = {"prompts": prompts, "default_prompt_name": "s2s"}
    write_json(tmp_path / "config_sentence_transformers.json", settings)
    keys = {key: value.data for key, value in sentence_metadata(tmp_path, "qwen3").items()}
    assert keys == {
        "qwen3.pooling_type": LAST,
        "sentence_transformers.prompts.query": "Find: ",
        "sentence_transformers.prompts.document": "",
        "sentence_transformers.prompts.s2s": "Same: ",
        "sentence_transformers.default_prompt_name": "s2s",
    }


@pytest.mark.parametrize("prompts", [["query"], {"query": 5}])
def test_prompts_that_are_no_texts_are_refused(tmp_path: Path, prompts: Any) -> None:
    write_pooling(tmp_path, "1_Pooling")
    (tmp_path / "1_Pooling").mkdir()
    write_json(tmp_path / "1_Pooling" / "config.json", {"pooling_mode_lasttoken": True})
    write_json(tmp_path / "config_sentence_transformers.json", {"prompts": prompts})
    with pytest.raises(CheckpointError, match="prompt"):
        sentence_metadata(tmp_path, "qwen3")


def test_a_layer_behind_the_pooling_is_refused(tmp_path: Path) -> None:
    modules = [{"type": "x.Transformer"}, {"type": "x.Pooling", "path": "1_Pooling"}, {"type": "x.LSTM"}]
    write_json(tmp_path / "modules.json", modules)
    with pytest.raises(CheckpointError, match="LSTM"):
        pooling_type(tmp_path)
    dense = DenseLayer("2_Dense", 768, 768, False, "torch.nn.modules.linear.Identity")
    with pytest.raises(CheckpointError, match="2_Dense"):
        architecture_of(BERT).with_dense([dense])


def test_a_folder_without_these_files_has_no_keys(tmp_path: Path) -> None:
    assert sentence_metadata(tmp_path, "bert") == {}
