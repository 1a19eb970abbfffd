"""EAGLE-3 heads: the vocabulary and sizes of their model, a token table, and what is refused."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.demo import DEMO_DIR
from models.doctor.tiny_model import write_tiny_gguf
from models.errors import CheckpointError, QuantizationError
from models.gguf.info import read_gguf_info
from quantize.checkpoint.safetensors import SafetensorsSource
from tests.gguf_reader import QuickReader
from tests.quantize.checkpoint.write_tensors import write_any_safetensors
from tests.quantize.converter import SOURCES, convert
from tests.quantize.quantize_folder import quantize_folder
from tests.quantize.summary import summary

HEAD_DIR = DEMO_DIR / "draft_head"
N_DRAFT = 300
OURS = ("general.quantized_by", "corral.tools", "corral.source.revision")


def load(folder: Path) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    with closing(SafetensorsSource([folder / "model.safetensors"])) as source:
        return {name: source.rows(name, 0, entry.shape[0]) for name, entry in source.entries.items()}


def write_head(folder: Path, *, n_draft: int = N_DRAFT, **changes: Any) -> Path:
    """A copy of the demo's head with an output matrix of its own, for some of the tokens; `changes`: of
    config.json."""
    random = np.random.Generator(np.random.PCG64(1))
    tensors = load(HEAD_DIR)
    tensors["lm_head.weight"] = random.standard_normal((n_draft, 256)).astype(np.float16)
    tokens = np.sort(random.permutation(4096)[:n_draft])
    tensors["d2t"] = (tokens - np.arange(n_draft)).astype(np.int64)
    tensors["t2d"] = np.isin(np.arange(4096), tokens)
    config = json.loads((HEAD_DIR / "config.json").read_text(encoding="utf-8"))
    config |= {"draft_vocab_size": n_draft, **changes}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    write_any_safetensors(folder / "model.safetensors", tensors)
    return folder


def test_a_head_has_the_vocabulary_of_its_model(tmp_path: Path) -> None:
    (file,) = quantize_folder(HEAD_DIR, ["Q8_0"], tmp_path, target=DEMO_DIR)
    info = read_gguf_info(file.path)
    assert (info.kind, info.architecture, info.n_vocab) == ("head", "eagle3", 4096)
    assert info.hyperparameter("target_hidden_size") == 256
    assert {"token_embd.weight", "output.weight", "d2t"}.isdisjoint(each.name for each in info.tensors)
    types = {tensor.name: tensor.type for tensor in info.tensors}
    assert (types["fc.weight"], types["blk.0.attn_q.weight"]) == ("Q8_0", "Q8_0")
    assert types["blk.0.attn_norm_2.weight"] == "F32"


def test_the_table_of_tokens_has_their_ids_in_every_type(tmp_path: Path) -> None:
    head = write_head(tmp_path / "head")
    distances = load(head)["d2t"]
    for file in quantize_folder(head, ["F16", "Q4_K_M"], tmp_path, target=DEMO_DIR):
        (table,) = (tensor for tensor in QuickReader(file.path).tensors if tensor.name == "d2t")
        assert table.tensor_type.name == "I64"
        assert list(table.data) == list(distances + np.arange(N_DRAFT))
        assert read_gguf_info(file.path).kind == "head"


def test_a_head_that_does_not_name_its_layers_sees_those_of_its_makers(tmp_path: Path) -> None:
    head = write_head(tmp_path / "head", eagle_aux_hidden_state_layer_ids=None)
    (file,) = quantize_folder(head, ["F16"], tmp_path, target=DEMO_DIR)
    layers = read_gguf_info(file.path).metadata["eagle3.target_layers"]
    assert not isinstance(layers, int | float | str)
    assert layers.numbers() == [2, 3, 3]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_hidden_layers": 2}, "has one layer"),
        ({"target_hidden_size": 128}, "of the width 128, and the target's is 256; give .* --target"),
        ({"eagle_aux_hidden_state_layer_ids": [1, 2]}, "sees 3 of them"),
        ({"eagle_aux_hidden_state_layer_ids": [1, 2, 6]}, "of a model that has 6"),
        ({"draft_vocab_size": 299}, r"lm_head.weight has the shape \[300, 256\]|d2t has the shape"),
    ],
)
def test_what_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    head = write_head(tmp_path / "head", **changes)
    with pytest.raises(CheckpointError, match=reason):
        quantize_folder(head, ["F16"], tmp_path, target=DEMO_DIR)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"vocab_size": 410}, "guesses 4,096 tokens, the target has 410, .*; give the folder .* --target"),
        (None, "has no config.json; --target is the folder"),
    ],
)
def test_the_target_of_another_head_is_refused(
    tmp_path: Path, changes: dict[str, Any] | None, reason: str
) -> None:
    if changes is not None:
        config = json.loads((DEMO_DIR / "config.json").read_text(encoding="utf-8")) | changes
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError, match=reason):
        quantize_folder(HEAD_DIR, ["F16"], tmp_path, target=tmp_path)


def test_tokens_beyond_the_vocabulary_are_refused(tmp_path: Path) -> None:
    head = write_head(tmp_path / "head")
    tensors = load(head)
    tensors["d2t"][-1] += 4096
    write_any_safetensors(head / "model.safetensors", tensors)
    with pytest.raises(CheckpointError, match="names tokens beyond a vocabulary of 4,096"):
        quantize_folder(head, ["F16"], tmp_path, target=DEMO_DIR)


def test_only_heads_have_a_target_and_they_need_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="corral quantize with that model's folder as --target"):
        quantize_folder(HEAD_DIR, ["F16"], tmp_path)
    with pytest.raises(QuantizationError, match="is no head that drafts; leave out --target"):
        quantize_folder("demo", ["F16"], tmp_path, target=DEMO_DIR)
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    with pytest.raises(QuantizationError, match="has its vocabulary; leave out --target"):
        quantize_folder(path, ["Q8_0"], tmp_path, target=DEMO_DIR)


def test_a_head_gets_the_output_matrix_of_its_model(tmp_path: Path) -> None:
    for file in quantize_folder(HEAD_DIR, ["F16", "Q8_0"], tmp_path, target=DEMO_DIR, own_output=True):
        (matrix,) = (tensor for tensor in QuickReader(file.path).tensors if tensor.name == "output.weight")
        assert matrix.tensor_type.name == file.type
        if file.type == "F16":
            assert np.array_equal(matrix.data, load(DEMO_DIR)["model.embed_tokens.weight"])
        assert read_gguf_info(file.path).kind == "head"


def test_what_gets_no_output_matrix(tmp_path: Path) -> None:
    head = write_head(tmp_path / "head")
    refused = (
        (HEAD_DIR, None, "is the matrix of a head's model; give it with --target"),
        (head, DEMO_DIR, "has an output matrix of its own; leave out --own-output"),
        ("demo", DEMO_DIR, "is no head that drafts; leave out --own-output"),
        (write_tiny_gguf(tmp_path / "tiny.gguf"), DEMO_DIR, "is no head that drafts; leave out --own-output"),
    )
    for source, target, reason in refused:
        with pytest.raises(QuantizationError, match=reason):
            quantize_folder(source, ["F16"], tmp_path, target=target, own_output=True)
    tensors = load(head)
    del tensors["lm_head.weight"]
    write_any_safetensors(head / "model.safetensors", tensors)
    with pytest.raises(CheckpointError, match=r"lm_head.weight has the shape \[4096, 256\]"):
        quantize_folder(head, ["F16"], tmp_path, target=DEMO_DIR, own_output=True)
    (tmp_path / "config.json").write_bytes((DEMO_DIR / "config.json").read_bytes())
    write_any_safetensors(tmp_path / "model.safetensors", {"model.norm.weight": np.ones(256, np.float32)})
    with pytest.raises(CheckpointError, match="has no output matrix that is known here"):
        quantize_folder(HEAD_DIR, ["F16"], tmp_path, target=tmp_path, own_output=True)


@pytest.mark.oracle
@pytest.mark.skipif(SOURCES is None, reason="CORRAL_LLAMA_CPP_SOURCE names no llama.cpp source tree")
@pytest.mark.parametrize("whole", [True, False])
def test_the_converter_makes_the_same_file(tmp_path: Path, whole: bool) -> None:
    head = HEAD_DIR if whole else write_head(tmp_path / "head")
    theirs = convert(head, tmp_path, "qwen2", ["F16"], target=DEMO_DIR)["F16"]
    (file,) = quantize_folder(head, ["F16"], tmp_path, target=DEMO_DIR)
    ours = summary(file.path)
    for name in OURS:
        del ours["metadata"][name]
    assert ours["tensors"] == theirs["tensors"]
    assert ours["metadata"] == theirs["metadata"]
