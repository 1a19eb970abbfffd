"""PEFT adapters as GGUF: what is written means what PEFT means; what GGUF can't say is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import CheckpointError, UnknownArchitecture
from models.gguf.info import read_gguf_info
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.lora import Adapter, set_adapters
from models.llamacpp.model import Model
from quantize.adapter.convert import convert_adapter
from tests.peft import ALL_LINEAR, PREFIX, read_tensors, write_merged_checkpoint, write_peft_adapter
from tests.pico import write_json, write_pico_checkpoint, write_safetensors
from tests.pico_tokenizer import write_bpe_tokenizer
from tests.quantize.quantize_folder import quantize_folder

TOKENS = [5, 300, 17, 42, 42, 399, 0, 120, 65, 251, 8, 77, 301, 256, 33, 90, 12, 404]
TOLERANCE = 2e-4
"""The tolerance of a logit, in standard deviations of all: sums in another order, in F32."""


def gguf_of(checkpoint: Path, out: Path) -> Path:
    (file,) = quantize_folder(checkpoint, ["F32"], out, threads=1)
    return file.path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pico_checkpoint(tmp_path_factory.mktemp("base") / "pico", dtype="F32")


@pytest.fixture(scope="module")
def base(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gguf_of(checkpoint, tmp_path_factory.mktemp("gguf"))


def logits(path: Path, adapters: list[tuple[Path, float]]) -> npt.NDArray[np.float32]:
    """Return the logits [n_tokens, n_vocab] of TOKENS."""
    with (
        Model.load(path) as model,
        Context(
            model, n_ctx=256, n_batch=64, n_threads=1, flash_attn="off", type_k="f32", type_v="f32"
        ) as context,
    ):
        set_adapters(context, [(Adapter.load(model, file), scale) for file, scale in adapters])
        batch = TokenBatch(64)
        for position, token in enumerate(TOKENS):
            batch.add(token, position, 0, True)
        context.decode(batch)
        return context.logits().copy()


def assert_same(ours: npt.NDArray[np.float32], meant: npt.NDArray[np.float32]) -> None:
    difference = np.abs(ours - meant).max() / meant.std()
    assert difference < TOLERANCE


VARIANTS: dict[str, dict[str, Any]] = {
    "all linear": {},
    "attention, rank 1": {"modules": ("self_attn.q_proj", "self_attn.k_proj"), "rank": 1},
    "rank-stabilized": {"fields": {"use_rslora": True}},
    "output and embedding": {"modules": (), "others": ("lm_head", "model.embed_tokens")},
    "F16": {"dtype": "F16"},
    "BF16": {"dtype": "BF16"},
    "patterns": {
        "ranks": {"model.layers.0.self_attn.q_proj": 2, "model.layers.1.mlp.up_proj": 16},
        "fields": {"alpha_pattern": {"model.layers.0.self_attn.q_proj": 3, "down_proj": 20}},
    },
    "patterns, rank-stabilized": {
        "dtype": "F16",
        "ranks": {"model.layers.0.self_attn.q_proj": 2},
        "fields": {"use_rslora": True, "alpha_pattern": {"q_proj": 5}},
    },
}


@pytest.mark.model
@pytest.mark.parametrize("name", VARIANTS)
def test_it_means_the_merged_weights(name: str, checkpoint: Path, base: Path, tmp_path: Path) -> None:
    folder = write_peft_adapter(tmp_path / "adapter", checkpoint, **VARIANTS[name])
    info = convert_adapter(folder, base, tmp_path / "adapter.gguf")
    assert info.path == tmp_path / "adapter.gguf"
    merged = write_merged_checkpoint(tmp_path / "merged", checkpoint, [(folder, 1.0)])
    meant = logits(gguf_of(merged, tmp_path), [])
    assert_same(logits(base, [(info.path, 1.0)]), meant)
    plain = logits(base, [])
    assert np.abs(plain - meant).max() / meant.std() > 100 * TOLERANCE, "the adapter changes nothing"


def write_gpt2(folder: Path) -> Path:
    """Write a tiny GPT-2, whose attention and feed-forward weights are stored [n_in, n_out]."""
    folder.mkdir()
    n, (vocab, bos, eos) = 64, write_bpe_tokenizer(folder)
    fields = {"n_embd": n, "n_head": 2, "n_layer": 1, "n_positions": 128, "vocab_size": vocab, "n_inner": 192}
    kind = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new"}
    write_json(folder / "config.json", {**kind, **fields, "bos_token_id": bos, "eos_token_id": eos})
    random = np.random.Generator(np.random.PCG64(5))

    def matrix(*shape: int) -> npt.NDArray[np.float32]:
        return (random.standard_normal(shape) / 8).astype(np.float32)

    block = "transformer.h.0"
    tensors = {"transformer.wte.weight": matrix(vocab, n), "transformer.wpe.weight": matrix(128, n)}
    for norm in (f"{block}.ln_1", f"{block}.ln_2", "transformer.ln_f"):
        tensors |= {f"{norm}.weight": np.ones(n, np.float32), f"{norm}.bias": matrix(n)}
    for name, (n_in, n_out) in GPT2_SHAPES.items():
        tensors |= {f"{block}.{name}.weight": matrix(n_in, n_out), f"{block}.{name}.bias": matrix(n_out)}
    write_safetensors(folder / "model.safetensors", tensors)
    return folder


GPT2_SHAPES = {
    "attn.c_attn": (64, 192),
    "attn.c_proj": (64, 64),
    "mlp.c_fc": (64, 192),
    "mlp.c_proj": (192, 64),
}


@pytest.mark.model
@pytest.mark.parametrize("fan_in_fan_out", [False, True])
def test_an_adapter_of_weights_stored_as_columns(fan_in_fan_out: bool, tmp_path: Path) -> None:
    """Square ones, too, and whatever the adapter says of them."""
    checkpoint = write_gpt2(tmp_path / "gpt2")
    tensors: dict[str, npt.NDArray[np.float32]] = {}
    merged = read_tensors(checkpoint / "model.safetensors")
    random = np.random.Generator(np.random.PCG64(6))
    for name, (n_in, n_out) in GPT2_SHAPES.items():
        module = f"transformer.h.0.{name}"
        a = (random.standard_normal((4, n_in)) / 8).astype(np.float32)
        b = random.standard_normal((n_out, 4)).astype(np.float32)
        tensors |= {f"{PREFIX}{module}.lora_A.weight": a, f"{PREFIX}{module}.lora_B.weight": b}
        merged[f"{module}.weight"] = merged[f"{module}.weight"] + 0.5 * (b @ a).T
    folder = tmp_path / "adapter"
    folder.mkdir()
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    fields = {"peft_type": "LORA", "r": 4, "lora_alpha": 2, "fan_in_fan_out": fan_in_fan_out}
    write_json(folder / "adapter_config.json", fields)
    base = gguf_of(checkpoint, tmp_path / "base")
    info = convert_adapter(folder, base, tmp_path / "adapter.gguf")
    write_safetensors(checkpoint / "model.safetensors", merged)
    meant = logits(gguf_of(checkpoint, tmp_path / "merged"), [])
    assert_same(logits(base, [(info.path, 1.0)]), meant)
    assert np.abs(logits(base, []) - meant).max() / meant.std() > 100 * TOLERANCE


@pytest.mark.model
def test_several_at_once_with_scales(checkpoint: Path, base: Path, tmp_path: Path) -> None:
    folders = [
        write_peft_adapter(tmp_path / "one", checkpoint, seed=1, rank=4),
        write_peft_adapter(tmp_path / "two", checkpoint, seed=2, rank=8, alpha=4, modules=ALL_LINEAR[:3]),
    ]
    files = [convert_adapter(folder, base, tmp_path / f"{folder.name}.gguf").path for folder in folders]
    scales = [0.5, -1.25]
    merged = write_merged_checkpoint(tmp_path / "merged", checkpoint, list(zip(folders, scales, strict=True)))
    ours = logits(base, list(zip(files, scales, strict=True)))
    assert_same(ours, logits(gguf_of(merged, tmp_path), []))


@pytest.mark.model
def test_the_base_may_be_of_another_kind(tmp_path: Path) -> None:
    """Grouped heads of a size of their own, tied embeddings, quantized: only the shapes matter."""
    config = {"head_dim": 32}
    checkpoint = write_pico_checkpoint(tmp_path / "pico", dtype="F32", tie=True, heads=8, config=config)
    folder = write_peft_adapter(tmp_path / "adapter", checkpoint)
    f32, q8_0 = (file.path for file in quantize_folder(checkpoint, ["F32", "Q8_0"], tmp_path, threads=1))
    info = convert_adapter(folder, q8_0, tmp_path / "adapter.gguf")
    merged = write_merged_checkpoint(tmp_path / "merged", checkpoint, [(folder, 1.0)])
    assert_same(logits(f32, [(info.path, 1.0)]), logits(gguf_of(merged, tmp_path), []))


def test_metadata_and_types(checkpoint: Path, base: Path, tmp_path: Path) -> None:
    folder = write_peft_adapter(tmp_path / "style", checkpoint, rank=4, alpha=6, dtype="F16")
    info = convert_adapter(folder, base, tmp_path / "out" / "style.gguf")
    assert (info.alpha, info.rank, info.architecture, info.name) == (6.0, 4, "llama", "style")
    assert len(info.targets) == 14
    written = read_gguf_info(info.path)
    assert written.kind == "adapter"
    assert {tensor.type for tensor in written.tensors} == {"F32"}
    assert {tensor.name for tensor in written.tensors} >= {
        "blk.0.attn_q.weight.lora_a",
        "blk.1.ffn_down.weight.lora_b",
    }
    assert [path.name for path in info.path.parent.iterdir()] == ["style.gguf"]


def test_old_tensor_names(checkpoint: Path, base: Path, tmp_path: Path) -> None:
    """Saved with torch directly, names hold the adapter's own name."""
    folder = write_peft_adapter(tmp_path / "adapter", checkpoint)
    first = convert_adapter(folder, base, tmp_path / "first.gguf").path.read_bytes()
    tensors = read_tensors(folder / "adapter_model.safetensors")
    renamed = {name.replace(".weight", ".default.weight"): tensor for name, tensor in tensors.items()}
    write_safetensors(folder / "adapter_model.safetensors", renamed)
    assert convert_adapter(folder, base, tmp_path / "second.gguf").path.read_bytes() == first


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"peft_type": "LOHA"}, "peft_type 'LOHA'"),
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias 'all'"),
        ({"lora_bias": True}, "lora_bias"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
        ({"alora_invocation_tokens": [1, 2]}, "activated LoRA"),
        ({"lora_alpha": 0}, "lora_alpha 0"),
        ({"lora_alpha": float("inf")}, "lora_alpha inf"),
        ({"lora_alpha": "8"}, "lora_alpha '8'"),
        ({"lora_alpha": 10**400}, "lora_alpha 10000"),
        ({"r": 0}, "r 0"),
        ({"alpha_pattern": {"layers\\.(0|1)": 3}}, "regular expression"),
        ({"alpha_pattern": [1]}, "alpha_pattern"),
    ],
)
def test_what_gguf_cannot_say_is_refused(
    fields: dict[str, Any], said: str, checkpoint: Path, base: Path, tmp_path: Path
) -> None:
    folder = write_peft_adapter(tmp_path / "adapter", checkpoint, fields=fields)
    with pytest.raises(CheckpointError, match=said.replace("(", "\\(")):
        convert_adapter(folder, base, tmp_path / "out.gguf")
    assert not list(tmp_path.glob("*.gguf")) + list(tmp_path.glob(".*"))


def spoil(folder: Path, change: dict[str, Any]) -> None:
    tensors = read_tensors(folder / "adapter_model.safetensors")
    for name, value in change.items():
        tensors.pop(name, None)
        if value is not None:
            tensors[name] = value
    write_safetensors(folder / "adapter_model.safetensors", tensors)


Q = f"{PREFIX}model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({f"{Q}.lora_magnitude_vector": np.zeros(256, np.float32)}, "no lora_A or lora_B"),
        ({f"{Q}.lora_B.bias": np.zeros(256, np.float32)}, "no lora_A or lora_B"),
        ({f"{PREFIX}lm_head.weight": np.zeros((2, 2), np.float32)}, "no lora_A or lora_B"),
        ({f"{Q}.lora_B.weight": None}, "only lora_A"),
        ({f"{Q}.lora_A.weight": np.zeros((4, 128), np.float32)}, "shapes"),
        ({f"{Q}.lora_B.weight": np.zeros((256, 8), np.float32)}, "shapes"),
        ({f"{Q}.lora_A.weight": np.zeros((4, 256), np.int64)}, "matrix of floats"),
        ({f"{Q}.lora_A.weight": np.full((4, 256), np.nan, np.float32)}, "no finite"),
        ({f"{Q}.lora_A.other.weight": np.zeros((4, 256), np.float32)}, "two lora_A"),
        (
            {
                f"{PREFIX}layers.0.self_attn.q_proj.lora_{half}.weight": np.zeros(shape, np.float32)
                for half, shape in (("A", (4, 256)), ("B", (256, 4)))
            },
            "which are one tensor",
        ),
        (
            {f"{PREFIX}model.layers.7.mlp.x.lora_{h}.weight": np.zeros((4, 4), np.float32) for h in "AB"},
            "x, wh",
        ),
    ],
)
def test_other_tensors_are_refused(
    change: dict[str, Any], said: str, checkpoint: Path, base: Path, tmp_path: Path
) -> None:
    folder = write_peft_adapter(tmp_path / "adapter", checkpoint)
    spoil(folder, change)
    with pytest.raises(CheckpointError, match=said):
        convert_adapter(folder, base, tmp_path / "out.gguf")
    assert not list(tmp_path.glob("*.gguf")) + list(tmp_path.glob(".*"))


@pytest.mark.parametrize("module", ["model.embed_tokens", "lm_head"])
def test_one_half_of_a_tied_model_is_refused(module: str, tmp_path: Path) -> None:
    """llama.cpp would apply the embedding's to the output too, with the wrong shapes, and abort."""
    checkpoint = write_pico_checkpoint(tmp_path / "pico", dtype="F32", tie=True)
    untied = write_pico_checkpoint(tmp_path / "untied", dtype="F32")
    folder = write_peft_adapter(tmp_path / "adapter", untied, modules=(), others=(module,))
    with pytest.raises(CheckpointError, match=r"\(tied\).*quantize --lora"):
        convert_adapter(folder, gguf_of(checkpoint, tmp_path), tmp_path / "out.gguf")


def test_an_architecture_without_rules_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "mamba.gguf", "mamba")
    for name, value in {"block_count": 1, "embedding_length": 64, "context_length": 64}.items():
        writer.add_uint32(f"mamba.{name}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    folder = write_peft_adapter(tmp_path / "adapter", checkpoint)
    with pytest.raises(UnknownArchitecture, match="convert_lora_to_gguf"):
        convert_adapter(folder, tmp_path / "mamba.gguf", tmp_path / "out.gguf")


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_file_is_named(missing: str, checkpoint: Path, base: Path, tmp_path: Path) -> None:
    folder = write_peft_adapter(tmp_path / "adapter", checkpoint)
    (folder / missing).unlink()
    with pytest.raises(CheckpointError, match=missing):
        convert_adapter(folder, base, tmp_path / "out.gguf")


def test_the_process(checkpoint: Path, base: Path, tmp_path: Path) -> None:
    folder = write_peft_adapter(tmp_path / "adapter", checkpoint)
    command = [sys.executable, "-m", "quantize.adapter.convert"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)

    done = run(str(folder), str(base), str(tmp_path / "out.gguf"))
    assert (done.returncode, done.stderr) == (0, "")
    assert read_gguf_info(tmp_path / "out.gguf").kind == "adapter"
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    failed = run(str(folder), str(base), str(tmp_path / "other.gguf"))
    assert failed.returncode == 1
    assert failed.stderr.startswith("adapter_config.json has use_dora")
    assert run("one").returncode == 2
