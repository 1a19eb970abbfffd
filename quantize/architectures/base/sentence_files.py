"""Sentence-transformers' files beside a checkpoint: the pooling of its vectors, and its prompts.

modules.json                       [{"type": "….Pooling", "path": "1_Pooling", …}, …]
1_Pooling/config.json              {"pooling_mode_mean_tokens": true, …}
config_sentence_transformers.json  {"prompts": {"query": "query: ", …}, "default_prompt_name": null}
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from models.errors import CheckpointError
from models.gguf.pooling import DEFAULT_PROMPT_KEY, PROMPT_PREFIX
from quantize.checkpoint.json_file import read_json_object
from quantize.checkpoint.sentence_modules import MODULES_FILE, read_modules
from quantize.gguf.header import Metadata, string, uint32

NONE: Final = 0
MEAN: Final = 1
CLS: Final = 2
LAST: Final = 3
"""The numbers of llama.cpp's ways to pool (llama.h, enum llama_pooling_type)."""

_POOLING_FLAGS: Final = {
    "pooling_mode_mean_tokens": MEAN,
    "pooling_mode_cls_token": CLS,
    "pooling_mode_lasttoken": LAST,
}
_POOLING_MODES: Final = {"mean": MEAN, "cls": CLS, "lasttoken": LAST}
_PROMPTS_FILE: Final = "config_sentence_transformers.json"
_UNKNOWN_LAYERS: Final = (".LSTM", ".CNN", ".LayerNorm", ".WeightedLayerPooling")
MAX_PROMPTS: Final = 256
MAX_PROMPT_CHARS: Final = 65_536


def sentence_metadata(directory: Path, prefix: str) -> Metadata:
    """Return the keys of a model that sentence-transformers loads, its pooling under `prefix`.

    Raises CheckpointError: a pooling that llama.cpp doesn't have, damaged files.
    """
    pooling = pooling_type(directory)
    if pooling is None:
        return {}
    return {f"{prefix}.pooling_type": uint32(pooling), **prompts_metadata(directory)}


def prompts_metadata(directory: Path) -> Metadata:
    """Return the keys of the texts that go before a query or a document. Raises CheckpointError."""
    if not (directory / _PROMPTS_FILE).is_file():
        return {}
    settings = read_json_object(directory / _PROMPTS_FILE)
    prompts = settings.get("prompts") or {}
    if not isinstance(prompts, dict) or len(prompts) > MAX_PROMPTS:
        raise CheckpointError(
            f"{_PROMPTS_FILE} has prompts that are no object of at most {MAX_PROMPTS} texts"
        )
    keys: Metadata = {}
    for name, text in prompts.items():
        if not isinstance(text, str) or len(text) > MAX_PROMPT_CHARS:
            raise CheckpointError(
                f"{_PROMPTS_FILE}: the prompt {name!r:.80} is no text of at most {MAX_PROMPT_CHARS:,} letters"
            )
        keys[f"{PROMPT_PREFIX}{name}"] = string(text)
    default = settings.get("default_prompt_name")
    if isinstance(default, str) and default in prompts:
        keys[DEFAULT_PROMPT_KEY] = string(default)
    return keys


def pooling_type(directory: Path) -> int | None:
    """Return llama.cpp's number for the way in which a text's vector is made of its tokens'.

    Without sentence-transformers' files the result is None.

    Raises CheckpointError: a pooling that llama.cpp doesn't have, damaged files.
    """
    path = _pooling_path(directory)
    if path is None:
        return None
    settings = read_json_object(directory / path / "config.json")
    for flag, number in _POOLING_FLAGS.items():
        if settings.get(flag) is True:
            return number
    mode = settings.get("pooling_mode")
    if isinstance(mode, str) and mode in _POOLING_MODES:
        return _POOLING_MODES[mode]
    raise CheckpointError(
        f"{path}/config.json asks for a pooling that llama.cpp doesn't have; it has mean, cls and lasttoken"
    )


def require_modules(directory: Path) -> None:
    """Check that a checkpoint has a modules.json. Raises CheckpointError."""
    if not (directory / MODULES_FILE).is_file():
        raise CheckpointError(
            f"the checkpoint lacks {MODULES_FILE}, which says how its vectors are pooled and which layers "
            "follow, in folders like 1_Pooling and 2_Dense; download the whole repository"
        )


def uncomputed(layer: str) -> CheckpointError:
    """Return the error for a layer behind the model that llama.cpp doesn't compute."""
    return CheckpointError(
        f"modules.json has a layer {layer} behind the model, which llama.cpp doesn't"
        " compute; its vectors would be others"
    )


def _pooling_path(directory: Path) -> str | None:
    found = read_modules(directory)
    for module in found:
        if module.type.endswith(_UNKNOWN_LAYERS):
            raise uncomputed(module.type)
    pooling = next((module for module in found if module.type.endswith("Pooling")), None)
    return None if pooling is None else pooling.folder
