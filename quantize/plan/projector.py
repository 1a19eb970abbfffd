"""The projector in a plan: its tensors after the model's own, its file, the converter's types.

The types are those of llama.cpp's converter with `--mmproj --outtype`. llama.cpp's quantizer isn't the
reference: it would also quantize matrices that its projectors can't compute with in that form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from models.errors import CheckpointError, QuantizationError
from models.gguf.projector import (
    PROJECTOR_ARCHITECTURE,
    PROJECTOR_KIND,
    PROJECTOR_NUMBERS,
    projector_type,
)
from models.gguf.projector_rules import projector_faults
from models.llamacpp.quantization.ggml_types import ALL_FTYPES, GGML_TYPES, blck_size
from quantize.architectures.base.config import ModelConfig
from quantize.architectures.base.projector import PictureFiles, Projector
from quantize.architectures.projector_registry import projector_class
from quantize.architectures.registry import architecture_of
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.json_file import optional_json_object
from quantize.gguf.general_metadata import general_metadata
from quantize.gguf.header import Metadata, string, uint32
from quantize.gguf.parameter_count import ParameterCount
from quantize.plan.header_check import TYPE_NAMES, read_back, rows
from quantize.plan.plan import (
    QUANTIZATION_VERSION,
    PlannedTensor,
    QuantizationPlan,
    file_of_types,
    plan_tensors,
)

_CONVOLUTIONS: Final = (".patch_embd.weight", ".patch_merger.weight")
"""The parts of names of tensors that are never quantized, nor written as BF16."""


def check_numbers(numbers: str) -> None:
    """Raise QuantizationError with the reason if no projector can have such `numbers`."""
    if numbers not in PROJECTOR_NUMBERS:
        raise QuantizationError(
            f"a projector can't be written as {numbers}; choose {' or '.join(PROJECTOR_NUMBERS)}"
        )


def with_projector(
    plan: QuantizationPlan,
    checkpoint: Checkpoint,
    numbers: str,
    *,
    name: str | None = None,
    extra: Metadata | None = None,
) -> QuantizationPlan:
    """Return `plan` with the checkpoint's projector in addition; as it is, where there is none.

    `name` and `extra` as in `make_plan`. Raises CheckpointError: a projector of another form than those
    known, whose tensors aren't all there, or that llama.cpp couldn't load.
    """
    check_numbers(numbers)
    projector = projector_in(checkpoint)
    if projector is None:
        return plan
    tensors, _ = plan_tensors(checkpoint.tensors.entries, projector)
    types = [type_of(projector, tensor, numbers) for tensor in tensors]
    parameters = ParameterCount.of((tensor.name, tensor.ne) for tensor in tensors)
    metadata: Metadata = {
        **general_metadata(checkpoint.directory, checkpoint.config, name, parameters),
        **(extra or {}),
        "general.architecture": string(PROJECTOR_ARCHITECTURE),
        "general.type": string(PROJECTOR_KIND),
        **projector.metadata(),
        "general.quantization_version": uint32(QUANTIZATION_VERSION),
        "general.file_type": uint32(ALL_FTYPES[numbers]),
    }
    _require_usable(metadata, tensors, types)
    file = file_of_types(projector_type(numbers), tensors, types, metadata, first=len(plan.tensors))
    return replace(plan, tensors=(*plan.tensors, *tensors), projector=file)


def projector_in(checkpoint: Checkpoint) -> Projector | None:
    """Return a checkpoint's projector; None for a model of text alone, or one saved without it.

    Raises CheckpointError: a projector that llama.cpp can't compute, or a configuration that isn't whole.
    """
    if checkpoint.gguf is not None:
        return None
    found = projector_class(checkpoint.config)
    if found is None or not any(map(found.sees, checkpoint.tensors.entries)):
        return None
    files, text = _picture_files(checkpoint.directory), architecture_of(checkpoint.config)
    return found(ModelConfig(checkpoint.config), files, text)


def type_of(projector: Projector, tensor: PlannedTensor, numbers: str) -> int:
    """Return the ggml type that llama.cpp's converter gives a projector's tensor."""
    if tensor.always_f32:
        kind = "F32"
    elif tensor.name in projector.always_f16:
        kind = "F16"
    elif any(part in tensor.name for part in _CONVOLUTIONS):
        kind = "F16" if numbers == "F16" else "F32"
    elif not tensor.name.endswith(".weight"):
        kind = "F32"
    elif tensor.n_per_row % blck_size(GGML_TYPES[numbers]):
        kind = "F16"
    else:
        kind = numbers
    return GGML_TYPES[kind]


def _require_usable(metadata: Metadata, tensors: Sequence[PlannedTensor], types: Sequence[int]) -> None:
    """Check the file as it would be checked before it is loaded. Raises CheckpointError with the reason."""
    table = rows([(tensor.name, tensor.ne, kind) for tensor, kind in zip(tensors, types, strict=True)])
    types_of_keys = {key: TYPE_NAMES[value.type] for key, value in metadata.items()}
    for fault in projector_faults(read_back(metadata), types_of_keys, table):
        raise CheckpointError(f"no projector can be made of the checkpoint: {fault}")


def _picture_files(directory: Path) -> PictureFiles:
    """Read what the files beside config.json say of pictures. Raises CheckpointError: a damaged one."""
    fields: dict[str, Any] = {}
    for name, inner in (
        ("preprocessor_config.json", "media_proc_cfg"),
        ("processor_config.json", "image_processor"),
    ):
        found = optional_json_object(directory / name) or {}
        nested = found.get(inner)
        fields |= found | (nested if isinstance(nested, dict) else {})
    return PictureFiles(ModelConfig(fields, "preprocessor_config.json"), _added_tokens(directory))


def _added_tokens(directory: Path) -> Mapping[str, int]:
    """Return the ids of added tokens by their texts; those of tokenizer_config.json come first."""
    listed = (optional_json_object(directory / "tokenizer.json") or {}).get("added_tokens")
    ids = {
        str(token.get("content")): token["id"]
        for token in (listed if isinstance(listed, list) else ())
        if isinstance(token, dict) and type(token.get("id")) is int and token["id"] >= 0
    }
    decoder = (optional_json_object(directory / "tokenizer_config.json") or {}).get("added_tokens_decoder")
    for number, token in (decoder if isinstance(decoder, dict) else {}).items():
        if number.isdecimal() and isinstance(token, dict):
            ids[str(token.get("content"))] = int(number)
    return ids
