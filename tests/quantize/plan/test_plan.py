"""The plan: sizes that hold, tensors that are missing, unknown or wrong, types that can't be written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import CheckpointError, QuantizationError
from models.llamacpp.quantization.ggml_types import FTYPES
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.json_file import read_json_object
from quantize.checkpoint.source import Rows, TensorEntry, TensorSource
from quantize.gguf.header import string
from quantize.plan.make_plan import make_plan
from quantize.plan.plan import QuantizationPlan
from tests.pico import pico_tensors, write_pico_checkpoint
from tests.quantize.checkpoint.write_tensors import write_any_safetensors


class EntriesOnly(TensorSource):
    """A source without data: a plan must not read any."""

    def __init__(self, entries: Mapping[str, TensorEntry]) -> None:
        self._entries = dict(entries)

    @property
    def entries(self) -> dict[str, TensorEntry]:
        return self._entries

    def rows(self, name: str, start: int, stop: int) -> Rows:
        raise AssertionError(f"{name} was read")

    def close(self) -> None:
        pass


def entry(name: str, *shape: int, dtype: npt.DTypeLike = np.float16) -> TensorEntry:
    return TensorEntry(name, shape, np.dtype(dtype))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    opened = Checkpoint.open(write_pico_checkpoint(tmp_path_factory.mktemp("plan") / "pico", n_layers=1))
    source = EntriesOnly(opened.tensors.entries)
    opened.close()
    return dataclasses.replace(opened, tensors=source)


def plan(
    checkpoint: Checkpoint, change: Callable[[dict[str, TensorEntry]], object], **config: Any
) -> QuantizationPlan:
    source = EntriesOnly(checkpoint.tensors.entries)
    change(source.entries)
    changed = dataclasses.replace(checkpoint, tensors=source, config=checkpoint.config | config)
    return make_plan(changed, ["Q4_K_M", "F16"])


def unchanged(_entries: dict[str, TensorEntry]) -> None:
    pass


def test_a_plan_reads_no_data_and_knows_every_byte(checkpoint: Checkpoint) -> None:
    made = plan(checkpoint, unchanged)
    assert made.n_parameters == sum(e.n_elements for e in checkpoint.tensors.entries.values())
    assert made.source_bytes == sum(e.n_bytes for e in checkpoint.tensors.entries.values())
    assert [file.type for file in made.files] == ["Q4_K_M", "F16"]
    assert 4.5 < made.files[0].bits_per_weight < 5.5
    assert 16.0 < made.files[1].bits_per_weight < 16.1
    for file in made.files:
        last = file.tensors[-1]
        assert file.size_bytes == len(file.header) + last.offset + -(-file.tensor_bytes[-1] // 32) * 32
    assert made.output_bytes == sum(file.size_bytes for file in made.files)


def test_tensors_are_in_llama_cpps_order(tmp_path: Path) -> None:
    with Checkpoint.open(write_pico_checkpoint(tmp_path / "pico", n_layers=11, hidden=64)) as deep:
        names = [tensor.name for tensor in make_plan(deep, ["Q8_0"]).tensors]
    assert names[:3] == ["output.weight", "output_norm.weight", "token_embd.weight"]
    layers = [int(name.split(".")[1]) for name in names[3:]]
    assert layers == sorted(layers)
    assert layers[-1] == 10


def test_rows_that_blocks_dont_divide_fall_back(tmp_path: Path) -> None:
    with Checkpoint.open(write_pico_checkpoint(tmp_path / "pico", n_layers=1, hidden=64)) as narrow:
        file = make_plan(narrow, ["Q4_K_M"]).files[0]
    types = {tensor.name: tensor.ggml_type for tensor in file.tensors}
    assert types["blk.0.attn_q.weight"] == 6  # Q5_0 for Q4_K
    assert types["output.weight"] == 8  # Q8_0 for Q6_K


def with_bias(folder: Path, name: str, bias: Any) -> Checkpoint:
    path = write_pico_checkpoint(folder / "pico", n_layers=1)
    tensors = pico_tensors(read_json_object(path / "config.json"), seed=0, dtype="F32")
    write_any_safetensors(path / "model.safetensors", {**tensors, name: bias})
    return Checkpoint.open(path)


def test_biases_of_zeros_without_a_place_are_left_out(tmp_path: Path) -> None:
    name = "lm_head.bias"
    with with_bias(tmp_path, name, np.zeros(256, np.float16)) as checkpoint:
        made = make_plan(checkpoint, ["F16"])
    assert made.unused == (name,)
    assert "output.bias" not in {tensor.name for tensor in made.tensors}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("lm_head.bias", np.eye(1, 256, 255, dtype=np.float16)[0]),
        ("lm_head.bias", np.full(256, np.nan, np.float32)),
        ("model.layers.0.mlp.down_proj.scale", np.zeros(256, np.float32)),
        ("model.layers.0.mlp.extra.bias", np.zeros((2, 2), np.float32)),
    ],
)
def test_what_has_an_effect_and_no_place_is_refused(name: str, values: Any, tmp_path: Path) -> None:
    refused = pytest.raises(CheckpointError, match=f"has {name}, for which .* has no place")
    with with_bias(tmp_path, name, values) as checkpoint, refused:
        make_plan(checkpoint, ["F16"])


@pytest.mark.parametrize(
    ("change", "config", "reason"),
    [
        (lambda e: e.pop("lm_head.weight"), {}, r"lacks lm_head\.weight"),
        (lambda e: e.pop("model.norm.weight"), {}, r"lacks model\.norm\.weight"),
        (lambda e: e.update(x=entry("x", 2)), {}, "has x, for which llama has no place"),
        (
            lambda e: [e.pop(name) for name in list(e) if "mlp" in name or "attn" in name],
            {},
            "and 2 more tensors",
        ),
        (
            lambda e: e.update({"model.norm.weight": entry("model.norm.weight", 255)}),
            {},
            r"shape \[255\], by config\.json it is \[256\]",
        ),
        (
            lambda e: e.update({"model.norm.weight": entry("model.norm.weight", 256, dtype=np.int8)}),
            {},
            r"model\.norm\.weight is int8",
        ),
        (unchanged, {"num_key_value_heads": 4}, r"k_proj\.weight has the shape \[128, 256\]"),
        (unchanged, {"vocab_size": 500}, "embed_tokens"),
        (unchanged, {"num_hidden_layers": 2}, r"lacks model\.layers\.1"),
        (unchanged, {"attention_bias": True}, r"lacks model\.layers\.0\.self_attn\.q_proj\.bias"),
        (
            unchanged,
            {"rms_norm_eps": -1},
            r"no file .*rms_epsilon is -1\.0 \(0 to 1\); correct config\.json",
        ),
        (unchanged, {"rope_theta": 1e308}, r"rope_theta in config\.json is 1e\+308"),
        (unchanged, {"rms_norm_eps": -1}, r"no file .*rms_epsilon is -1\.0 .*; correct config\.json"),
    ],
)
def test_what_doesnt_fit_together_is_named(
    checkpoint: Checkpoint,
    change: Callable[[dict[str, TensorEntry]], object],
    config: dict[str, Any],
    reason: str,
) -> None:
    with pytest.raises(CheckpointError, match=reason):
        plan(checkpoint, change, **config)


@pytest.mark.parametrize(("key", "text"), [("general.url", "half: \ud83d"), ("general.\ud83d", "whole")])
def test_texts_that_gguf_cannot_hold_are_named(checkpoint: Checkpoint, key: str, text: str) -> None:
    with pytest.raises(CheckpointError, match=r"'general\..* GGUF can't hold .*surrogates"):
        make_plan(checkpoint, ["F16"], extra={key: string(text)})


def test_computed_buffers_are_unused_not_unknown(checkpoint: Checkpoint) -> None:
    buffer = "model.layers.0.self_attn.rotary_emb.inv_freq"
    made = plan(checkpoint, lambda entries: entries.update({buffer: entry(buffer, 32)}))
    assert made.unused == (buffer,)


def test_tied_embeddings_have_no_output(checkpoint: Checkpoint) -> None:
    made = plan(checkpoint, lambda entries: entries.pop("lm_head.weight"), tie_word_embeddings=True)
    types = {tensor.name: tensor.ggml_type for tensor in made.files[0].tensors}
    assert "output.weight" not in types
    assert types["token_embd.weight"] == 14  # Q6_K, as the output would be


@pytest.mark.parametrize(
    ("types", "reason"),
    [
        ([], "no type"),
        (["IQ2_XS"], "importance matrix"),
        (["Q2_K_S"], "importance matrix"),
        (["Q9"], "no type to"),
    ],
)
def test_types_that_cant_be_written(checkpoint: Checkpoint, types: list[str], reason: str) -> None:
    with pytest.raises(QuantizationError, match=reason):
        make_plan(checkpoint, types)


def test_a_type_asked_for_twice_is_planned_once(checkpoint: Checkpoint) -> None:
    assert [file.type for file in make_plan(checkpoint, ["Q8_0", "Q8_0"]).files] == ["Q8_0"]


def test_every_ftype_can_be_planned(checkpoint: Checkpoint) -> None:
    made = make_plan(checkpoint, list(FTYPES))
    sizes = {file.type: file.size_bytes for file in made.files}
    assert sizes["F32"] > sizes["F16"] > sizes["Q8_0"] > sizes["Q5_K_M"] > sizes["Q4_K_M"] > sizes["Q2_K"]
