"""A checkpoint of the Hub: the files of a repository that are used, and how they are opened."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from models.errors import ModelNotFound, QuantizationError, UnknownArchitecture
from models.hub import download as hub
from models.hub.cache import VerifiedNotes
from models.hub.download import DownloadPlan
from models.hub.files import sizes
from models.quantization_types import PREFERRED_TYPES
from quantize.architectures.registry import architecture_of
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.hub_stream import HubStream
from quantize.checkpoint.json_file import read_json_object
from quantize.control import JobControl
from quantize.job.request import QuantizeRequest

_GGUF_SOURCES: Final = ("F32", "BF16", "F16", "Q8_0")
"""Ready GGUF files of these types lost little enough to make others of; the best comes first."""


def plan_download(request: QuantizeRequest) -> DownloadPlan:
    """Plan to download the weights; of a repository that has only GGUFs, the one that lost least.

    Raises what `models.hub.download.plan` raises, and QuantizationError.
    """
    ref, paths, stream = request.ref, request.store.paths, request.options.run.stream
    try:
        download = hub.plan(ref, paths=paths, room=not stream)
        if download.kind == "checkpoint":
            return download
        best = _best_gguf(request)
    except ModelNotFound:  # of the repository, or in it: several GGUFs, none of which is the usual one
        best = _best_gguf(request)
        if best is None:
            raise
    if best is None:
        raise QuantizationError(
            f"{ref.repo} has ready GGUF files and no weights of {', '.join(_GGUF_SOURCES)} to make others of;"
            f" run: corral pull {ref}"
        )
    if stream:
        raise QuantizationError(f"{ref.repo} has GGUF files, and only safetensors are streamed; leave it out")
    return best


def open_download(download: DownloadPlan, request: QuantizeRequest, control: JobControl) -> Checkpoint:
    """Download what isn't here and open it. Raises HubError, CheckpointError, UnknownArchitecture.

    config.json comes first: of a model that can't be quantized no weights are downloaded.
    """
    config = tuple(file for file in download.files if file.path == "config.json")
    if download.kind == "checkpoint" and config:
        folder = hub.run(replace(download, files=config), paths=request.store.paths)
        require_known(read_json_object(folder / "config.json"), download, request)
    folder = hub.run(download, control.on_download, control.cancel, paths=request.store.paths)
    return Checkpoint.open(download.gguf_paths[0] if download.kind == "gguf" else folder)


def stream_of(download: DownloadPlan, request: QuantizeRequest, control: JobControl) -> HubStream:
    """Return the weights of `download` as a stream, which is opened later."""
    return HubStream(download, request.store.paths, control, request.options.run.memory_bytes)


def require_known(config: Mapping[str, Any], download: DownloadPlan, request: QuantizeRequest) -> None:
    """Raise UnknownArchitecture for a model that can't be quantized, with what can be served."""
    try:
        architecture_of(config)
    except UnknownArchitecture as error:
        ready = _ready_types(download, request)
        if ready:
            offer = f"{download.repo} has ready GGUF files: run corral pull {download.repo}:{ready[0]}"
            more = f" (or {', '.join(ready[1:])})" if ready[1:] else ""
            raise UnknownArchitecture(f"{error.message}; {offer}{more}") from None
        raise UnknownArchitecture(
            f"{error.message}; a GGUF that was made elsewhere can be quantized: corral quantize FILE.gguf"
        ) from None


def _ready_types(download: DownloadPlan, request: QuantizeRequest) -> list[str]:
    """Return the types of the repository's ready GGUFs, the preferred one first."""
    listed = VerifiedNotes(request.store.paths.verified_dir).listing(download.repo, download.commit)
    ggufs = sizes(download.repo, listed)[0] if listed else {}
    return sorted(ggufs, key=lambda type_: (type_ not in PREFERRED_TYPES, list(ggufs).index(type_)))


def _best_gguf(request: QuantizeRequest) -> DownloadPlan | None:
    for type_ in _GGUF_SOURCES:
        with contextlib.suppress(ModelNotFound):
            return hub.plan(request.ref.with_type(type_), paths=request.store.paths)
    return None
