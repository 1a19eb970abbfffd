"""A base read back from its GGUF file: the names and shapes of the matrices that its config.json gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.gguf.info import GGUFInfo
from models.gguf.reader import GGUFArray, GGUFTensor
from quantize.adapter.base_model import families_of_gguf
from quantize.adapter.convert import convert_adapter
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.base.transform import RotaryHeads, Same, Transpose
from quantize.architectures.registry import architecture_of
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.merge.lora import LoraSource
from tests.peft import PREFIX
from tests.pico import write_json, write_safetensors
from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import read_golden, write_checkpoint
from tests.quantize.families.family import Family
from tests.quantize.quantize_folder import run_plan

NOT_READ_BACK = ("nomic-bert", "nomic-bert-moe", "jina-reranker-v2")
"""Families that choose their name in GGUF by the configuration, and a `bert` with another's names."""

READ_BACK = [
    family
    for family in ALL_FAMILIES
    if family.name not in NOT_READ_BACK and architecture_of({**read_golden(family)["config"]}).reads_back
]

OUTER = ("token_embd", "position_embd", "token_types", "output", "cls")
"""Matrices outside of layers. An encoder's file doesn't say how it has them."""


def config_of(family: Family) -> dict[str, object]:
    config: dict[str, object] = read_golden(family)["config"]
    return config


def file_of(architecture: Architecture) -> GGUFInfo:
    """Return what the file of such a model says: its sizes and its tensors."""
    values = {key: value.data for key, value in architecture.metadata().items()}
    metadata: dict[str, int | float | bool | str | GGUFArray] = {
        key: value for key, value in values.items() if isinstance(value, int | float | str)
    }
    metadata["general.architecture"] = architecture.gguf_name
    tensors = tuple(
        GGUFTensor(rule.name, tuple(rule.shape[::-1]), "F32", 0, 0)
        for rule in architecture.tensor_rules()
        if not rule.optional
    )
    return GGUFInfo((Path("base.gguf"),), 0, 3, 32, metadata, tensors)


def matrices(family: Architecture) -> dict[str, TensorRule]:
    """Return the rules of matrices in layers whose rows can be told apart."""
    return {
        rule.name: rule
        for rule in family.tensor_rules()
        if len(rule.shape) == 2 and isinstance(rule.transform, Same | RotaryHeads | Transpose)
        if len(rule.sources) == 1 and rule.name.split(".")[0] not in OUTER
    }


@pytest.mark.parametrize("family", READ_BACK, ids=str)
def test_its_matrices_are_those_of_the_configuration(family: Family) -> None:
    written = architecture_of(config_of(family))
    expected = matrices(written)
    assert expected
    found = [matrices(candidate) for candidate in families_of_gguf(file_of(written))]
    assert any(expected.items() <= one.items() for one in found)


def write_adapter(folder: Path, shapes: dict[str, tuple[int, int]]) -> Path:
    """Write an adapter that changes modules of these shapes, outputs first."""
    folder.mkdir()
    write_json(folder / "adapter_config.json", {"peft_type": "LORA", "r": 2, "lora_alpha": 4})
    random, tensors = np.random.Generator(np.random.PCG64(3)), {}
    for module, (n_out, n_in) in shapes.items():
        for half, shape in (("A", (2, n_in)), ("B", (n_out, 2))):
            values = random.standard_normal(shape).astype(np.float32)
            tensors[f"{PREFIX}{module}.lora_{half}.weight"] = values
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    return folder


SPELLINGS = {
    "qwen3-moe": (("model.", ""), ("model.", "model.language_model."), ("", "language_model.")),
    "gemma3-vision": (
        ("language_model.model.", ""),
        ("language_model.model.", "model.language_model."),
        ("language_model.", ""),
    ),
    "chatglm3": (("transformer.", ""),),
    "glm": (("model.", ""), ("model.", "model.language_model.")),
    "bloom": (("", "transformer."),),
    "deepseek2": (("model.", ""),),
    "bert": (("", "bert."),),
}
"""What stands before an adapter's names in place of what stands before the checkpoint's."""


@pytest.mark.parametrize("name", SPELLINGS)
def test_an_adapter_may_have_other_names_than_the_checkpoint(name: str, tmp_path: Path) -> None:
    (family,) = [family for family in ALL_FAMILIES if family.name == name]
    golden = read_golden(family)
    checkpoint = write_checkpoint(family, tmp_path, golden["config"], golden["tensors"])
    architecture = architecture_of(json.loads((checkpoint / "config.json").read_text(encoding="utf-8")))
    sources = {rule.sources[0] for rule in matrices(architecture).values()}
    stored = [other for other in golden["tensors"] if architecture.tensor_name(other) in sources][:3]
    shapes = {other.removesuffix(".weight"): tuple(golden["tensors"][other][1]) for other in stored}
    assert shapes
    (base,) = run_plan(checkpoint, ["F32"], tmp_path)
    expected = None
    for i, (old, new) in enumerate((("", ""), *SPELLINGS[name])):
        renamed = {new + module.removeprefix(old): shape for module, shape in shapes.items()}
        folder = write_adapter(tmp_path / f"adapter{i}", renamed)
        out = tmp_path / f"{i}" / "adapter.gguf"
        convert_adapter(folder, base.path, out)
        written = out.read_bytes().replace(folder.name.encode(), b"adapter0")
        with Checkpoint.open(checkpoint) as opened:
            source = LoraSource(opened.tensors, [(folder, 1.0)], opened.config)
            (adapter, _), *_ = source.adapters
            assert set(adapter.changes) == set(stored)
        assert written == (expected or written)
        expected = written
