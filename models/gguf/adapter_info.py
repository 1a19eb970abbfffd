"""`read_adapter_info`: a LoRA adapter's GGUF file, read and checked against its base model.

llama.cpp aborts the process on some of what is refused here (a key of another type, an embedding's adapter on
a model that has its embedding as its output), throws on some, and computes nonsense with the rest. Pure but
for reading the headers; the API process and the worker both call it, before llama.cpp sees the file.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from models.errors import InvalidGGUF
from models.gguf.info import GGUFInfo
from models.gguf.reader import GGUFFile, GGUFTensor, read_gguf_file

SUFFIX_A, SUFFIX_B = ".lora_a", ".lora_b"
EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"
TENSOR_TYPES = ("F32", "F16", "BF16", "Q8_0")
_NORM_SUFFIX = "_norm.weight"


@dataclass(frozen=True)
class AdapterInfo:
    """An adapter that fits its base. `alpha` None: its products are added as they are, whatever the rank."""

    path: Path
    size_bytes: int
    name: str | None
    architecture: str
    alpha: float | None
    rank: int
    """The largest of its tensors' ranks."""
    targets: tuple[str, ...]
    """The base's tensors that it changes, in the file's order."""
    ignored: tuple[str, ...]
    """Norms in the file: llama.cpp doesn't apply them."""


class _Misfit(Exception):
    """A reason, to be given the file's name and a fix; it never leaves this module."""


def read_adapter_info(path: Path, base: GGUFInfo) -> AdapterInfo:
    """Read an adapter's header and hold it against `base`. Raises InvalidGGUF with the reason."""
    file = read_gguf_file(path)
    try:
        architecture, alpha = _check_keys(file, base)
        pairs, ignored = _pairs(file)
        shapes = {tensor.name: tensor.shape for tensor in base.tensors}
        ranks = [_check_pair(target, a, b, shapes) for target, (a, b) in pairs.items()]
        _check_second_scales(pairs, base)
    except _Misfit as misfit:
        raise InvalidGGUF(
            f"the adapter {path} can't be used with {base.path.name}: {misfit}; give a LoRA adapter made for"
            " this model"
        ) from misfit
    name = file.metadata.get("general.name")
    return AdapterInfo(
        path=path,
        size_bytes=file.size_bytes,
        name=name if isinstance(name, str) else None,
        architecture=architecture,
        alpha=alpha or None,
        rank=max(ranks),
        targets=tuple(pairs),
        ignored=tuple(ignored),
    )


def _check_keys(file: GGUFFile, base: GGUFInfo) -> tuple[str, float]:
    """Return architecture and alpha. Raises _Misfit."""
    kind = _text(file, "general.type")
    if kind != "adapter":
        raise _Misfit(f"general.type is {kind!r} instead of 'adapter'")
    adapter_type = _text(file, "adapter.type")
    if adapter_type != "lora":
        raise _Misfit(f"adapter.type is {adapter_type!r} instead of 'lora'")
    architecture = _text(file, "general.architecture")
    if architecture is None or architecture != base.architecture:
        raise _Misfit(f"it is for the architecture {architecture!r} and the model has {base.architecture!r}")
    if "adapter.alora.invocation_tokens" in file.metadata:
        raise _Misfit("it is an activated LoRA, which works only after its invocation tokens: not supported")
    if file.metadata.get("split.count", 0) not in (0, 1):
        raise _Misfit("it is one part of a split file, and adapters are read from one file")
    alpha = file.metadata.get("adapter.lora.alpha", 0.0)
    if file.types.get("adapter.lora.alpha", "f32") != "f32" or not isinstance(alpha, float):
        raise _Misfit("adapter.lora.alpha is no f32")
    if not math.isfinite(alpha):
        raise _Misfit(f"adapter.lora.alpha is {alpha}")
    return architecture, alpha


def _check_second_scales(targets: Collection[str], base: GGUFInfo) -> None:
    """Raise _Misfit if llama.cpp would end the process: it scales a feed-forward behind the adapter."""
    names = {tensor.name for tensor in base.tensors}
    for tensor in base.tensors:
        if tensor.type != "NVFP4" or tensor.name not in targets or "_exps." in tensor.name:
            continue
        if ".ffn_" in tensor.name and tensor.name.removesuffix("weight") + "scale" in names:
            raise _Misfit(
                f"it changes {tensor.name}, which is NVFP4 with a second scale: llama.cpp can't add to it; "
                "serve the model in another type, or merge the adapter with --lora"
            )


def _text(file: GGUFFile, key: str) -> str | None:
    value = file.metadata.get(key)
    if value is not None and not isinstance(value, str):
        raise _Misfit(f"{key} is no string")
    return value


def _pairs(file: GGUFFile) -> tuple[dict[str, tuple[GGUFTensor, GGUFTensor]], list[str]]:
    """Return (A, B) by the name of the tensor they change; and the norms."""
    halves: dict[str, dict[str, GGUFTensor]] = {}
    ignored: list[str] = []
    for tensor in file.tensors:
        target, half = tensor.name[: -len(SUFFIX_A)], tensor.name[-len(SUFFIX_A) :]
        if half in (SUFFIX_A, SUFFIX_B):
            halves.setdefault(target, {})[half] = tensor
        elif tensor.name.endswith(_NORM_SUFFIX):
            ignored.append(tensor.name)
        else:
            raise _Misfit(f"its tensor {tensor.name} is neither {SUFFIX_A} nor {SUFFIX_B}")
    for target, found in halves.items():
        if len(found) != 2:
            raise _Misfit(f"it has only one of {target}{SUFFIX_A} and {SUFFIX_B}")
    if not halves:
        raise _Misfit("it changes no tensor")
    return {target: (found[SUFFIX_A], found[SUFFIX_B]) for target, found in halves.items()}, ignored


def _check_pair(target: str, a: GGUFTensor, b: GGUFTensor, base: dict[str, tuple[int, ...]]) -> int:
    """Return the pair's rank. Raises _Misfit. Shapes are ggml's, row length first.

    target [n_in, n_out]        A [n_in, rank]      B [rank, n_out]       experts: a third number on each
    token_embd [n_embd, n_vocab]  A [rank, n_vocab]   B [rank, n_embd]
    """
    shape = base.get(target)
    if shape is None:
        raise _Misfit(f"the model has no tensor {target}")
    for tensor in (a, b):
        if tensor.type not in TENSOR_TYPES:
            raise _Misfit(
                f"its tensor {tensor.name} has the type {tensor.type} (known: {' '.join(TENSOR_TYPES)})"
            )
    shape_a, shape_b = _plain(a.shape), _plain(b.shape)
    if target == EMBEDDING:
        if OUTPUT not in base:
            raise _Misfit(f"it changes {EMBEDDING}, which is this model's output too; llama.cpp can't")
        rank = shape_a[0]
        wanted: tuple[tuple[int, ...], tuple[int, ...]] = (rank, shape[1]), (rank, shape[0])
    else:
        rank = shape_b[0]
        if len(shape) not in (2, 3):
            raise _Misfit(f"{target} has {len(shape)} dimensions, and adapters change matrices")
        wanted = (shape[0], rank, *shape[2:]), (rank, *shape[1:])
    if (shape_a, shape_b) != wanted:
        raise _Misfit(
            f"the shapes {list(shape_a)} and {list(shape_b)} of its pair for {target} don't fit the model's"
            f" {list(shape)}"
        )
    return rank


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without ones behind the second number, and with one if there is only a first."""
    shape = (*shape, 1) if len(shape) == 1 else shape
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    return shape
