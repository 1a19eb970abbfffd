"""`read_gguf_info`: what a GGUF file holds, or the reason why it must not be loaded.

`gguf_reader` reads the structure of one file, `gguf_checks` refuses values that llama.cpp would abort on;
this joins them with the parts of a split file. Nothing that doesn't pass here is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from models.errors import InvalidGGUF
from models.gguf.checks import model_faults, vocabulary_faults
from models.gguf.head_rules import HEAD_ARCHITECTURE, HEAD_KIND
from models.gguf.hyperparameters import Hyperparameters
from models.gguf.projector import PROJECTOR_ARCHITECTURE, PROJECTOR_KIND
from models.gguf.projector_rules import projector_faults, projector_width
from models.gguf.reader import GGUFArray, GGUFFile, GGUFTensor, Scalar, read_gguf_file
from models.gguf.window_layers import window_layers
from models.quantization_types import FILE_TYPES

__all__ = [
    "GGUFArray",
    "GGUFInfo",
    "GGUFTensor",
    "read_gguf_info",
    "require_model",
    "require_projector",
    "require_projector_for",
    "split_paths",
]

MAX_PARTS = 1000
MAX_STOP_TOKENS = 1024
"""A longer list of tokens that end an answer is taken for a mistake."""

_SPLIT_NAME = re.compile(r"(?P<prefix>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)


@dataclass(frozen=True)
class GGUFInfo:
    """A GGUF file, or all parts of a split one. `metadata` is the first part's; arrays decode on demand."""

    paths: tuple[Path, ...]
    size_bytes: int
    version: int
    alignment: int
    metadata: dict[str, Scalar | GGUFArray]
    tensors: tuple[GGUFTensor, ...]
    types: Mapping[str, str] = field(default_factory=dict)
    """The GGUF type of each key, such as "u32", "str" or "array"."""

    @property
    def path(self) -> Path:
        """The file to load."""
        return self.paths[0]

    @property
    def kind(self) -> str:
        """`general.type`: model, adapter, imatrix, mmproj …; "head" for one that drafts."""
        if self.architecture == PROJECTOR_ARCHITECTURE:
            return PROJECTOR_KIND
        if self.architecture == HEAD_ARCHITECTURE:
            return HEAD_KIND
        return self.text("general.type") or "model"

    @property
    def architecture(self) -> str | None:
        """The architecture's name; None only for files that are no model."""
        return self.text("general.architecture")

    @property
    def name(self) -> str | None:
        return self.text("general.name")

    @property
    def chat_template(self) -> str | None:
        return self.text("tokenizer.chat_template")

    @property
    def tool_use_template(self) -> str | None:
        """The chat template for chats with tools, where the model has one of its own."""
        return self.text("tokenizer.chat_template.tool_use")

    @property
    def stop_tokens(self) -> tuple[int, ...]:
        """The ids of `tokenizer.ggml.eos_token_ids`, which llama.cpp doesn't read; others don't count."""
        ids = self.metadata.get("tokenizer.ggml.eos_token_ids")
        if not isinstance(ids, GGUFArray) or ids.element_type == "str" or ids.length > MAX_STOP_TOKENS:
            return ()
        return tuple(int(i) for i in ids.numbers() if isinstance(i, int) and 0 <= i < (self.n_vocab or 0))

    @property
    def ftype(self) -> str | None:
        """The file's type as its writer named it, such as Q4_K_M; None if it doesn't say."""
        number = self.integer("general.file_type")
        return None if number is None else FILE_TYPES.get(number & ~1024)

    @cached_property
    def n_params(self) -> int:
        return sum(tensor.n_elements for tensor in self.tensors)

    @cached_property
    def weights_bytes(self) -> int:
        """Bytes of all tensors, without padding and metadata."""
        return sum(tensor.nbytes for tensor in self.tensors)

    @property
    def bits_per_weight(self) -> float | None:
        """The bits per weight over all tensors; None for a file without any."""
        return self.weights_bytes * 8 / self.n_params if self.n_params else None

    @property
    def n_ctx_train(self) -> int | None:
        return self.hyperparameter("context_length")

    @property
    def n_embd(self) -> int | None:
        return self.hyperparameter("embedding_length")

    @property
    def n_layer(self) -> int | None:
        return self.hyperparameter("block_count")

    @property
    def n_vocab(self) -> int | None:
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        return tokens.length if isinstance(tokens, GGUFArray) else self.hyperparameter("vocab_size")

    @cached_property
    def window_layers(self) -> list[bool]:
        """For each layer True if its attention has a sliding window; empty where none has."""
        return window_layers(Hyperparameters(self.metadata, self.architecture or ""))

    def hyperparameter(self, key: str) -> int | None:
        """Return the integer at `<architecture>.<key>`; None if there is none."""
        return self.integer(f"{self.architecture}.{key}")

    def text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def integer(self, key: str) -> int | None:
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def per_layer(self, key: str) -> list[int | float]:
        """Return `<architecture>.<key>` for each layer, from a number or an array, or an empty list."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, GGUFArray):
            return value.numbers() if value.element_type != "str" and value.length == self.n_layer else []
        return [value] * (self.n_layer or 1) if isinstance(value, int | float) else []


def require_model(info: GGUFInfo) -> None:
    """Check that a file can be served. Raises InvalidGGUF for an adapter, a head, a projector or a matrix."""
    fix = _NO_MODELS.get(info.kind)
    if fix is not None:
        raise InvalidGGUF(f"{info.path} is no model (its general.type is {info.kind}); {fix}")


def require_projector(info: GGUFInfo) -> None:
    """Check that a file can be loaded as a projector. Raises InvalidGGUF: another kind, or a bad header."""
    if info.kind != PROJECTOR_KIND:
        raise InvalidGGUF(
            f"{info.path} is no projector (its general.type is {info.kind}); give an mmproj file"
        )
    faults = [*projector_faults(info.metadata, info.types, info.tensors)]
    if len(info.paths) > 1:
        faults.insert(0, "it is in parts, and projectors are loaded from one file")
    if faults:
        more = f" (and {len(faults) - 1} more faults)" if len(faults) > 1 else ""
        _refuse(info.path, faults[0] + more)


def require_projector_for(info: GGUFInfo, model: GGUFInfo) -> None:
    """Check that a file can be loaded as the projector of `model`. Raises InvalidGGUF with the reason."""
    require_projector(info)
    width = projector_width(info.metadata)
    if width != model.n_embd:
        raise InvalidGGUF(
            f"{info.path} is the projector of a model with a width of {width}, and {model.path.name} has"
            f" {model.n_embd}; give the one that was published with the model"
        )


_NO_MODELS = {
    "adapter": "serve its base model with --lora and this file",
    "imatrix": "give it to corral quantize as --imatrix",
    PROJECTOR_KIND: "give the model's own GGUF, beside which the projector lies",
    HEAD_KIND: "serve its model with --draft and this file",
}
"""The kinds of GGUF files that can't be served, and the way to use them."""


def read_gguf_info(path: Path) -> GGUFInfo:
    """Read and check a GGUF file with all its parts. Raises InvalidGGUF with the reason, and nothing else."""
    first = read_gguf_file(path)
    files = (first, *_further_parts(first))
    tensors = tuple(tensor for file in files for tensor in file.tensors)
    if len({tensor.name for tensor in tensors}) != len(tensors):
        _refuse(path, "the same tensor is in two parts")
    expected = first.metadata.get("split.tensors.count")
    if len(files) > 1 and isinstance(expected, int) and expected != len(tensors):
        _refuse(path, f"its parts have {len(tensors):,} tensors instead of {expected:,}")
    info = GGUFInfo(
        paths=tuple(file.path for file in files),
        size_bytes=sum(file.size_bytes for file in files),
        version=first.version,
        alignment=first.alignment,
        metadata=first.metadata,
        tensors=tensors,
        types=first.types,
    )
    if info.kind in ("model", HEAD_KIND):
        _check_model(info)
    return info


def split_paths(path: Path) -> tuple[Path, ...] | None:
    """Return all parts' paths, from that of any of them (`x-00001-of-00003.gguf`); None for another name."""
    match = _SPLIT_NAME.fullmatch(path.name)
    if match is None:
        return None
    count = int(match["count"])
    if not 1 <= int(match["number"]) <= count <= MAX_PARTS:
        return None
    suffix = path.name[match.end("count") :]
    return tuple(
        path.with_name(f"{match['prefix']}-{number:05}-of-{count:05}{suffix}")
        for number in range(1, count + 1)
    )


def _check_model(info: GGUFInfo) -> None:
    faults = []
    if (
        info.tensors or not info.architecture
    ):  # a file with the vocabulary alone has no hyper-parameters to judge
        faults = [*model_faults(info.metadata, info.tensors)]
    faults.extend(vocabulary_faults(info.metadata))
    if faults:
        more = f" (and {len(faults) - 1} more faults)" if len(faults) > 1 else ""
        _refuse(info.path, faults[0] + more)


def _further_parts(first: GGUFFile) -> list[GGUFFile]:
    count, number = first.metadata.get("split.count", 0), first.metadata.get("split.no", 0)
    if not isinstance(count, int) or not isinstance(number, int) or not 0 <= count <= MAX_PARTS:
        _refuse(first.path, f"split.count is {count!r}")
    if count <= 1:
        return []
    paths = split_paths(first.path)
    if paths is None or len(paths) != count:
        _refuse(first.path, f"it is part of {count}, and its name doesn't end in -00001-of-{count:05}.gguf")
    if number != 0 or first.path != paths[0]:
        _refuse(first.path, f"it is part {number + 1} of {count}, and {paths[0].name} is the one to load")
    parts = []
    for index, path in enumerate(paths[1:], start=1):
        if not path.is_file():
            _refuse(first.path, f"its part {path.name} is missing")
        part = read_gguf_file(path, part=index)
        if part.metadata.get("split.no") != index or part.metadata.get("split.count") != count:
            _refuse(path, f"it doesn't say that it is part {index + 1} of {count}")
        parts.append(part)
    return parts


def _refuse(path: Path, reason: str) -> NoReturn:
    raise InvalidGGUF(f"{path} can't be used: {reason}; download or make it again")
