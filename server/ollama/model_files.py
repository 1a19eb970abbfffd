"""`ModelFiles`: what Ollama's clients are told of model files, by their headers."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any

from models.errors import CorralError
from models.gguf.info import GGUFInfo, read_gguf_info
from models.gguf.reader import GGUFArray
from server.file_sampling import sampling_defaults
from server.ipc.model_spec import ModelInfo
from server.ollama.abilities import Abilities, abilities_of
from server.ollama.times import iso_time
from server.supervisor.catalogue import CatalogueEntry

_SUMMARIES_KEPT = 1_024
_MOST_SHOWN = 5
"""A longer array of a header is left out, unless the client wants all of them."""
_UNITS = ((10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 0))
"""Ollama's units of a number of parameters, with the digits behind the point."""


@dataclass(frozen=True, slots=True)
class FileSummary:
    """The little of a header that lists of models tell."""

    family: str
    n_params: int
    n_layers: int
    abilities: Abilities


_UNREADABLE = FileSummary("", 0, 0, ())
"""The summary of a file that can't be read; what is wrong with it, its loading says."""


class ModelFiles:
    """The summaries of files, each read once as long as it stays as it is."""

    def __init__(self) -> None:
        self._summaries: dict[tuple[str, int, int], FileSummary] = {}

    async def summary(self, entry: CatalogueEntry) -> FileSummary:
        """Return a file's summary, which is empty for a file that can't be read."""
        return await asyncio.to_thread(self._summary, entry)

    def _summary(self, entry: CatalogueEntry) -> FileSummary:
        try:
            stat = entry.path.stat()
            key = (str(entry.path), stat.st_size, stat.st_mtime_ns)
            found = self._summaries.get(key)
            if found is None:
                found = _summary_of(read_gguf_info(entry.path))
                if len(self._summaries) >= _SUMMARIES_KEPT:
                    self._summaries.clear()
                self._summaries[key] = found
        except (OSError, CorralError):
            return _UNREADABLE
        return found


def details(entry: CatalogueEntry, summary: FileSummary, n_ctx: int | None) -> dict[str, Any]:
    """Return Ollama's `details`; the context is the one that requests have here."""
    told: dict[str, Any] = {
        "parent_model": "",
        "format": "gguf",
        "family": summary.family,
        "families": [summary.family] if summary.family else [],
        "parameter_size": parameter_size(summary.n_params),
        "quantization_level": entry.type or "",
    }
    return told if n_ctx is None else {**told, "context_length": n_ctx}


def digest_of(entry: CatalogueEntry) -> str:
    """Return the sha256 of a file, as the store knows it, else one of its name, its size and its time."""
    if len(entry.sha256) == 1:
        return entry.sha256[0]
    words = "\n".join(entry.sha256) or f"{entry.path} {entry.size_bytes} {entry.created}"
    return hashlib.sha256(words.encode()).hexdigest()


def vram_bytes(entry: CatalogueEntry, summary: FileSummary, info: ModelInfo | None) -> int:
    """Return the bytes of the file that are on a GPU, about: its layers and the output count alike."""
    if info is None:
        return 0
    on_gpus = int(entry.size_bytes * min(max(info.n_gpu_layers, 0) / (summary.n_layers + 1), 1.0))
    return max(on_gpus - info.cpu_expert_bytes, 0)


def show_document(name: str, entry: CatalogueEntry, n_ctx: int | None, *, verbose: bool) -> dict[str, Any]:
    """Return a model as `/api/show` tells it. Reads the file. Raises InvalidGGUF."""
    info = read_gguf_info(entry.path)
    summary = _summary_of(info)
    body: dict[str, Any] = {
        "modelfile": f"# Made of the model's own header.\nFROM {name}\n",
        "parameters": _parameters(info),
        "template": info.chat_template or "",
        "details": details(entry, summary, n_ctx),
        "model_info": _model_info(info, verbose=verbose),
        "capabilities": capabilities(entry, summary),
        "modified_at": iso_time(entry.created),
    }
    licence = info.text("general.license")
    if licence is not None:
        body["license"] = licence
    if verbose:
        body["tensors"] = [
            {"name": tensor.name, "type": tensor.type, "shape": list(tensor.shape)} for tensor in info.tensors
        ]
    return body


def capabilities(entry: CatalogueEntry, summary: FileSummary) -> list[str]:
    """Return Ollama's words for what a model can do, `vision` where the store keeps a projector with it."""
    return [*summary.abilities, *(["vision"] if entry.projector is not None else [])]


def parameter_size(n_params: int) -> str:
    """Return a number of parameters as Ollama writes it: `8.0B`, `134.52M`."""
    for unit, letter, digits in _UNITS:
        if n_params >= unit:
            return f"{n_params / unit:.{digits}f}{letter}"
    return str(n_params) if n_params else ""


def _summary_of(info: GGUFInfo) -> FileSummary:
    return FileSummary(info.architecture or "", info.n_params, info.n_layer or 0, abilities_of(info))


def _parameters(info: GGUFInfo) -> str:
    """Return the sampling parameters that the file gives, a line each."""
    given = sampling_defaults(info.metadata)
    return "\n".join(f"{name:<30} {value:g}" for name, value in given.items())


def _model_info(info: GGUFInfo, *, verbose: bool) -> dict[str, Any]:
    """Return the header without what has a place of its own."""
    told: dict[str, Any] = {"general.parameter_count": info.n_params}
    for key, value in info.metadata.items():
        if key == "tokenizer.chat_template":
            continue
        told[key] = _array(value, verbose=verbose) if isinstance(value, GGUFArray) else value
    return told


def _array(array: GGUFArray, *, verbose: bool) -> list[Any]:
    if array.length > _MOST_SHOWN and not verbose:
        return []
    if array.element_type == "str":
        return [text.decode("utf-8", "replace") for text in array.strings()]
    return array.numbers()
