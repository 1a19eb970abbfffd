"""Second scales count where `GRAPHS` says so: llama.cpp computes with a small weight and a large scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.llamacpp.quantization.ggml_types import GGML_TYPES
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.gguf.header import Metadata, TensorInfo, aligned, encode_header
from quantize.plan.make_plan import make_plan
from quantize.plan.second_scales import ATTENTION, DENSE, GRAPHS, scalable, scale_name
from quantize.run.options import RunOptions
from quantize.run.pipeline import run
from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import read_golden, write_checkpoint
from tests.quantize.families.family import Family
from tests.quantize.families.golden import by_llama_cpp

F32 = GGML_TYPES["F32"]
TRIED = ("qwen3", "qwen3-moe", "gemma4")
"""Dense, experts, and one of the few that have all; `make thorough` tries the others."""

Tensors = dict[str, tuple[tuple[int, ...], int, bytes]]


def write(path: Path, metadata: Metadata, tensors: Tensors) -> None:
    infos, offset = [], 0
    for name, (ne, kind, data) in tensors.items():
        infos.append(TensorInfo(name, ne, kind, offset))
        offset += aligned(len(data))
    padded = [data.ljust(aligned(len(data)), b"\0") for _, _, data in tensors.values()]
    path.write_bytes(encode_header(metadata, infos) + b"".join(padded))


def scaled(tensors: Tensors, names: frozenset[str]) -> Tensors:
    """Return a millionth of those weights, and scales that make up for it: so small that no norm hides it."""
    made = dict(tensors)
    for name in names:
        ne, kind, data = tensors[name]
        small = np.frombuffer(data, np.float32) * np.float32(2.0**-20)
        n = ne[2] if len(ne) > 2 else 1
        made[name] = (ne, kind, small.tobytes())
        made[scale_name(name)] = ((n,), F32, np.full(n, 2.0**20, np.float32).tobytes())
    return made


def known(family: Family) -> bool:
    golden: dict[str, Any] = read_golden(family)
    (_, architecture) = golden["converter"]["all"]["metadata"]["general.architecture"]
    return architecture in GRAPHS


@pytest.mark.model
@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, id=family.name, marks=() if family.name in TRIED else pytest.mark.thorough)
        for family in ALL_FAMILIES
        if known(family)
    ],
)
def test_graphs_multiply_by_second_scales(family: Family, tmp_path: Path) -> None:
    golden = read_golden(family)
    folder = write_checkpoint(family, tmp_path, golden["config"], golden["tensors"])
    with Checkpoint.open(folder) as checkpoint:
        plan = make_plan(checkpoint, ["F32"])
        run(plan, checkpoint.tensors, [tmp_path / "plain.gguf"], RunOptions(threads=1))
    (file,) = plan.files
    raw, start = (tmp_path / "plain.gguf").read_bytes(), len(file.header)
    tensors: Tensors = {
        info.name: (info.ne, info.ggml_type, raw[start + info.offset : start + info.offset + size])
        for info, size in zip(file.tensors, file.tensor_bytes, strict=True)
    }
    prefix = plan.architecture
    further = file.metadata.get(f"{prefix}.nextn_predict_layers")
    n_layers = file.metadata[f"{prefix}.block_count"].data - (0 if further is None else further.data)
    names = scalable(prefix, n_layers, tensors.keys())
    assert names
    write(tmp_path / "scaled.gguf", file.metadata, scaled(tensors, names))
    ours, plain = (by_llama_cpp(family, tmp_path / f"{name}.gguf") for name in ("scaled", "plain"))
    np.testing.assert_allclose(ours["logits"], plain["logits"], rtol=0, atol=2e-4 * plain["deviation"])


def names_of(*matrices: str, layer: int = 0) -> set[str]:
    return {f"blk.{layer}.{matrix}.weight" for matrix in matrices}


def test_which_tensors_can_have_one() -> None:
    everything = names_of(*ATTENTION, *DENSE, "attn_norm", "ffn_gate_inp") | {
        "token_embd.weight",
        "output.weight",
    }
    assert scalable("qwen3", 1, everything) == names_of(*ATTENTION, *DENSE)
    assert scalable("qwen2", 1, everything) == names_of(*ATTENTION)
    assert scalable("unheard-of", 1, everything) == frozenset()


def test_a_feed_forward_with_a_bias_cant() -> None:
    """llama.cpp adds the bias, then multiplies; attention's is added behind."""
    biases = {"blk.0.ffn_up.bias", "blk.0.attn_q.bias"}
    assert scalable("llama", 1, names_of("ffn_up", "attn_q", "ffn_down") | biases) == names_of(
        "attn_q", "ffn_down"
    )


def test_layers_that_predict_further_tokens_cant() -> None:
    names = names_of("attn_q") | names_of("attn_q", layer=1)
    assert scalable("qwen35", 1, names) == names_of("attn_q")


def test_what_has_one_has_no_other() -> None:
    assert scalable("llama", 1, {*names_of("attn_q", "attn_k"), "blk.0.attn_q.scale"}) == names_of("attn_k")
