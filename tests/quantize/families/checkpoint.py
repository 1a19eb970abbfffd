"""The checkpoint of a family, from the shapes that its golden file holds; no torch.

Each tensor's values come from PCG64 seeded by its name, so that a tensor mistaken for another one shows.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from tests.pico import write_json, write_safetensors
from tests.pico_encoder_tokenizers import write_t5_tokenizer, write_wordpiece_tokenizer
from tests.pico_tokenizer import write_bpe_tokenizer, write_spm_tokenizer
from tests.quantize.families.family import Family, Tokenizer

GOLDEN = Path(__file__).parents[1] / "data" / "families"
TYPES = ("F16", "BF16", "F32")
DTYPES: dict[str, npt.DTypeLike] = {
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
}
TOKENIZERS: dict[Tokenizer, Callable[[Path], object]] = {
    "bpe": write_bpe_tokenizer,
    "spm": write_spm_tokenizer,
    "unigram": write_t5_tokenizer,
    "wordpiece": write_wordpiece_tokenizer,
}
EMBEDDINGS = ("embed", "wte", "wpe", "shared.weight")


def read_golden(family: Family) -> dict[str, Any]:
    path = GOLDEN / f"{family.name}.json"
    assert path.is_file(), f"{path} is missing: CORRAL_WRITE_GOLDEN=1 make oracle ARGS='-k {family.name}'"
    golden: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return golden


def write_checkpoint(
    family: Family, parent: Path, config: Mapping[str, Any], tensors: Mapping[str, tuple[str, list[int]]]
) -> Path:
    """Write config, tokenizer and one safetensors file to a folder of the family's name.

    Return the folder.
    """
    directory = parent / f"pico-{family.name}"
    directory.mkdir()
    TOKENIZERS[family.tokenizer](directory)
    write_json(directory / "config.json", dict(config))
    values = {
        name: tensor_values(name, tuple(shape), dtype, family.embedding_scale)
        for name, (dtype, shape) in tensors.items()
    }
    write_safetensors(directory / "model.safetensors", values)
    if family.edit is not None:
        family.edit(directory)
    return directory


def tensor_values(
    name: str, shape: tuple[int, ...], dtype: str, embedding_scale: float = 1.0
) -> npt.NDArray[Any]:
    """Return bell-shaped numbers of a size with which activations stay near one; integers count up."""
    n = math.prod(shape)
    if dtype == "I64":
        return np.arange(n, dtype=np.int64).reshape(shape)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    raw = np.asarray(np.random.PCG64(seed).random_raw(n))
    quarters = raw.view(np.uint16).reshape(-1, 4)
    sums = quarters[:, 0].astype(np.int32)
    for column in (1, 2, 3):  # quicker than summing along so short an axis
        sums += quarters[:, column]
    values = (sums - 4 * 32768).astype(np.float32) * np.float32(2.0**-15)  # standard deviation 2/sqrt(3)
    if len(shape) > 1 and any(part in name for part in EMBEDDINGS):
        values *= np.float32(embedding_scale)
    elif len(shape) > 1:
        values *= np.float32(2.0 ** -round(math.log2(shape[-1]) / 2))  # about 1/sqrt(fan in)
    elif len(shape) < 2 and name.endswith("bias"):
        values *= np.float32(0.125)
    elif len(shape) < 2:
        values = np.float32(1) + values * np.float32(0.0625)  # norms
    narrowed: npt.NDArray[Any] = values.reshape(shape).astype(DTYPES[dtype])
    return narrowed


def pack(summaries: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Join summaries of several files by type; values that all of them share stand once, under `all`."""
    packed: dict[str, Any] = {key: {} for key in ("all", *summaries)}
    first = next(iter(summaries.values()))
    for section in first:
        same = {
            key: value
            for key, value in first[section].items()
            if all(other[section].get(key) == value for other in summaries.values())
        }
        packed["all"][section] = same
        for type_, summary in summaries.items():
            packed[type_][section] = {k: v for k, v in summary[section].items() if k not in same}
    return packed


def unpack(packed: Mapping[str, Any], type_: str) -> dict[str, Any]:
    """Return the summary of one type."""
    return {section: {**same, **packed[type_][section]} for section, same in packed["all"].items()}


def write_golden(family: Family, golden: Mapping[str, Any]) -> None:
    """Write JSON with a line per tensor and key: small, and a change shows in a diff."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    (GOLDEN / f"{family.name}.json").write_text(golden_lines(golden), encoding="utf-8")


def golden_lines(golden: Mapping[str, Any]) -> str:
    """Return JSON with a line per tensor and key."""
    return _lines(golden, 0) + "\n"


def _lines(value: Any, depth: int) -> str:
    if not isinstance(value, dict) or depth > 3 or not value:
        return json.dumps(value, ensure_ascii=False)
    inner = ",\n".join(f"{json.dumps(key)}: {_lines(item, depth + 1)}" for key, item in value.items())
    return "{\n" + inner + "\n}"
