"""The golden files of `test_families.py`: made by transformers and llama.cpp's converter, or compared.

CORRAL_WRITE_GOLDEN=1 make oracle ARGS="tests/quantize/families -k mixtral"
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.pico import SAFETENSORS_NAMES
from tests.quantize.converter import SOURCES, convert
from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import TYPES, pack, read_golden, write_checkpoint, write_golden
from tests.quantize.families.family import Config, Family
from tests.quantize.families.generation_golden import N_TOKENS, PROMPT, golden_generation
from tests.quantize.families.golden import by_llama_cpp, by_transformers

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]
if SOURCES is None:
    pytestmark.append(pytest.mark.skip(reason="CORRAL_LLAMA_CPP_SOURCE names no llama.cpp source tree"))

Tensors = dict[str, tuple[str, list[int]]]


@pytest.mark.parametrize("family", ALL_FAMILIES, ids=str)
def test_the_converter_still_says_so(family: Family, tmp_path: Path) -> None:
    config, tensors = described(family, tmp_path / "saved")
    directory = write_checkpoint(family, tmp_path, config, tensors)
    converted = convert(
        directory, tmp_path, family.pre if family.tokenizer in ("bpe", "wordpiece") else None, TYPES
    )
    found = {
        "config": config,
        "tensors": tensors,
        "converter": pack(converted),
        "decoded": computed(family, directory, tmp_path / "converted.f32.gguf"),
    }
    if os.environ.get("CORRAL_WRITE_GOLDEN"):
        write_golden(family, found)
    golden = read_golden(family)
    for part in ("config", "tensors", "converter"):
        assert json.loads(json.dumps(found[part])) == golden[part]
    assert found["decoded"]["tokens"] == golden["decoded"]["tokens"]


def computed(family: Family, directory: Path, converted: Path) -> dict[str, Any]:
    """Return the record of the family's reference, of transformers, or of llama.cpp with `converted`."""
    if family.reference is not None:
        return family.reference(directory)
    if family.model is not None:
        return computed_by_transformers(family, directory)
    return {"by": "llama.cpp", **by_llama_cpp(family, converted)}


def described(family: Family, saved: Path) -> tuple[Config, Tensors]:
    """Return config.json and the tensors' dtypes and shapes, as a published checkpoint has them."""
    if family.model is None:
        assert family.shapes is not None, f"{family.name} needs a model or shapes"
        config, shapes = family.shapes()
        tensors: Tensors = {name: (family.dtype, list(shape)) for name, shape in shapes.items()}
    else:
        config, tensors = _saved(family, saved)
    if family.tensors is not None:
        changed = family.tensors({name: tuple(shape) for name, (_, shape) in tensors.items()})
        tensors = {name: (family.dtype, list(shape)) for name, shape in changed.items()}
    laid_over = {**config, **family.config}
    said = {key: value for key, value in laid_over.items() if value is not None}
    return {**said, **dict.fromkeys(family.nulls)}, tensors


def _saved(family: Family, saved: Path) -> tuple[Config, Tensors]:
    from safetensors import numpy as safetensors

    assert family.model is not None
    model = family.model()
    assert family.architecture in (type(model).__name__, *family.config.get("architectures", ()))
    model.save_pretrained(saved)
    config: Config = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    del config["transformers_version"]
    tensors: Tensors = {}
    for name, tensor in safetensors.load_file(saved / "model.safetensors").items():
        dtype = SAFETENSORS_NAMES[tensor.dtype]
        tensors[name] = (dtype if dtype == "I64" else family.dtype, list(tensor.shape))
    return config, tensors


def computed_by_transformers(family: Family, directory: Path) -> dict[str, Any]:
    """Return the record that transformers computes from the checkpoint folder, in F32."""
    if family.kind == "decoder":
        return decode_with_transformers(directory)
    return {"by": "transformers", **by_transformers(family, directory)}


def decode_with_transformers(directory: Path) -> dict[str, Any]:
    """Return greedy tokens of a decoder, and the logits of the first."""
    import torch
    import transformers

    name = json.loads((directory / "config.json").read_text(encoding="utf-8"))["architectures"][0]
    sees_or_hears = name.endswith("ForConditionalGeneration")
    family = getattr(transformers, name) if sees_or_hears else transformers.AutoModelForCausalLM
    model = family.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    tokens: list[int] = []
    with torch.no_grad():
        first = logits = model(torch.tensor([PROMPT])).logits[0, -1]
        while True:
            tokens.append(int(logits.argmax()))
            if len(tokens) == N_TOKENS:
                return {"by": "transformers", **golden_generation(tokens, first.numpy())}
            logits = model(torch.tensor([PROMPT + tokens])).logits[0, -1]
