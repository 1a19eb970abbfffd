"""The reading edge of a plan: a checkpoint's family, vocabulary and metadata are read here."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from models.errors import CheckpointError, QuantizationError
from models.quantization_types import TENSOR_TYPES
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.families.eagle3 import Eagle3
from quantize.architectures.registry import architecture_of
from quantize.architectures.requantize import GGUFModel, NoVocabulary
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.json_file import read_json_object
from quantize.checkpoint.sentence_modules import dense_layers, require_dense_weights
from quantize.checkpoint.source import BlockSource, TensorSource
from quantize.gguf.general_metadata import general_metadata
from quantize.gguf.header import Metadata, string, uint32
from quantize.gguf.parameter_count import ParameterCount
from quantize.plan.header_check import check_header
from quantize.plan.plan import (
    QUANTIZATION_VERSION,
    PlannedTensor,
    QuantizationPlan,
    keep_blocks,
    plan_files,
    plan_tensors,
)
from quantize.plan.second_scales import NVFP4, scalable
from quantize.plan.types import TypeChoice, check_types
from quantize.vocabulary.read import read_vocabulary
from quantize.vocabulary.stop_tokens import stop_metadata
from quantize.vocabulary.vocabulary import Vocabulary

log = logging.getLogger("corral.quantize")


def make_plan(
    checkpoint: Checkpoint,
    types: Sequence[str],
    *,
    name: str | None = None,
    extra: Metadata | None = None,
    choice: TypeChoice | None = None,
    target: Path | None = None,
) -> QuantizationPlan:
    """Plan a pass over an open checkpoint to `types` (canonical names).

    No tensor is read but biases for which the family has no place, of which those of zeros are left out, and
    single numbers that become metadata.

    `name` (`org/name`) goes into the files; `extra` metadata is laid over the rest; `choice`: what decides
    types in addition to llama.cpp's rules; `target`: the folder of the model that a head drafts for. Raises
    QuantizationError: a type that can't be written; CheckpointError: a family or vocabulary that isn't known,
    tensors that are missing, unknown, or of another shape than config.json says, or a header that llama.cpp
    couldn't load.
    """
    choice = choice or TypeChoice()
    imatrix = choice.imatrix
    architecture, vocabulary = _model(checkpoint, extra, target)
    check_types(types, choice)
    tensors, unused = plan_tensors(
        checkpoint.tensors.entries, architecture, lambda name: _is_zero_bias(checkpoint.tensors, name)
    )
    parameters = ParameterCount.of((tensor.name, tensor.ne) for tensor in tensors)
    metadata: Metadata = {
        "general.architecture": string(architecture.gguf_name),
        **_general(checkpoint, name, parameters, extra),
        **architecture.metadata(),
        **architecture.value_metadata(_values(checkpoint.tensors, architecture)),
        **architecture.folder_metadata(checkpoint.directory),
        **vocabulary.metadata(),
        **architecture.vocabulary_metadata(vocabulary),
        "general.quantization_version": uint32(QUANTIZATION_VERSION),
    }
    if checkpoint.gguf is None:
        metadata |= stop_metadata(metadata, vocabulary)
    for remark in vocabulary.remarks:
        log.warning("%s: %s", checkpoint.directory, remark)
    if imatrix is not None:
        imatrix.check_covers({tensor.name: tensor.ne for tensor in tensors if len(tensor.ne) > 1})
    n_layers = architecture.hyperparameters.n_layer - _further_layers(metadata, architecture)
    scales = scalable(architecture.gguf_name, n_layers, {tensor.name for tensor in tensors})
    if "NVFP4" in types and checkpoint.gguf is None and isinstance(checkpoint.tensors, BlockSource):
        tensors = _keep_nvfp4(tensors, checkpoint.tensors, scales, architecture)
    tensors, files = plan_files(types, tensors, metadata, architecture, choice, scales)
    if checkpoint.gguf is None:
        check_header(files[0])
    return QuantizationPlan(
        architecture.gguf_name,
        architecture.context_length,
        parameters.total,
        tensors,
        files,
        unused,
        imatrix,
        calibration=choice.calibration,
        awaits_calibration=choice.awaits_calibration,
    )


def _further_layers(metadata: Metadata, architecture: Architecture) -> int:
    """Return the number of layers at the end that llama.cpp answers without."""
    value = metadata.get(f"{architecture.gguf_name}.nextn_predict_layers")
    return 0 if value is None else int(value.data)


def _keep_nvfp4(
    tensors: tuple[PlannedTensor, ...],
    source: BlockSource,
    scales: Collection[str],
    architecture: Architecture,
) -> tuple[PlannedTensor, ...]:
    """Return the tensors; those that the checkpoint has in NVFP4 stay in their blocks, if they can."""
    kept = keep_blocks(tensors, source, NVFP4, scales)
    lost = [
        tensor.name
        for tensor in kept
        if tensor.stored_type != NVFP4 and any(source.ggml_type(name) == NVFP4 for name in tensor.sources)
    ]
    if lost:
        log.warning(
            "%d tensors that the checkpoint has in NVFP4 can't stay in their blocks, as llama.cpp's `%s` "
            "leaves out their second scales or their rows aren't blocks of %d: %s%s",
            len(lost),
            architecture.gguf_name,
            TENSOR_TYPES[NVFP4].block_size,
            ", ".join(lost[:3]),
            " …" if len(lost) > 3 else "",
        )
    return kept


def _is_zero_bias(source: TensorSource, name: str) -> bool:
    """Return whether the tensor is a bias of zeros, as quantizers write for every layer. Reads its values."""
    entry = source.entries[name]
    if not name.endswith("bias") or len(entry.shape) != 1:
        return False
    return not np.any(source.rows(name, 0, entry.shape[0]))


def _values(source: TensorSource, architecture: Architecture) -> dict[str, float]:
    """Return the tensors of single numbers that the family has as keys, by its names for them.

    Raises CheckpointError: one is missing, or no single number.
    """
    wanted = architecture.value_names
    if not wanted:
        return {}
    values: dict[str, float] = {}
    for name, entry in source.entries.items():
        known_as = architecture.tensor_name(name)
        if known_as in wanted:
            if entry.n_elements != 1:
                raise CheckpointError(
                    f"{name} has {entry.n_elements} numbers; in this family it is one number"
                )
            values[known_as] = float(source.rows(name, 0, 1).reshape(-1)[0])
    missing = sorted(wanted - set(values))
    if missing:
        raise CheckpointError(f"the checkpoint lacks {missing[0]}; download it again, or correct config.json")
    return values


def _model(
    checkpoint: Checkpoint, extra: Metadata | None, target: Path | None
) -> tuple[Architecture, Vocabulary]:
    """Return the family and the vocabulary, which for a head is that of its target.

    Raises QuantizationError for a target of what isn't a head's checkpoint.
    """
    if checkpoint.gguf is not None:
        if target is not None:
            raise QuantizationError("a GGUF file has its vocabulary; leave out --target")
        return GGUFModel(checkpoint.gguf, extra), NoVocabulary()
    directory, config = checkpoint.directory, checkpoint.config
    architecture = architecture_of(config)
    if isinstance(architecture, Eagle3) and target is not None:
        if not (target / "config.json").is_file():
            raise CheckpointError(
                f"{target} has no config.json; --target is the folder of a model's checkpoint"
            )
        directory, config = target, read_json_object(target / "config.json")
        architecture = architecture.for_target(config)
    elif target is not None:
        raise QuantizationError(f"{checkpoint.directory} is no head that drafts; leave out --target")
    architecture = architecture.with_tensors(checkpoint.tensors.entries)
    dense = dense_layers(checkpoint.directory)
    architecture = architecture.with_dense(dense)
    require_dense_weights(dense, checkpoint.tensors.entries)
    vocabulary = read_vocabulary(
        directory, config, architecture.vocabulary_size, architecture.added_token_rules
    )
    return architecture, vocabulary


def _general(
    checkpoint: Checkpoint, name: str | None, parameters: ParameterCount, extra: Metadata | None
) -> Metadata:
    """Return the `general.` keys; a GGUF file's own are among its metadata already, and `extra` too."""
    if checkpoint.gguf is not None:
        return {}
    return general_metadata(checkpoint.directory, checkpoint.config, name, parameters) | (extra or {})
