"""What is asked for, and where its weights are: found here, downloaded, put together, or to be streamed."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from models.demo import DEMO_DIR
from models.errors import ModelNotFound, QuantizationError
from models.hub import download as hub
from models.hub.download import DownloadPlan, DownloadProgress
from models.reference import ModelRef
from models.store.fingerprint import fingerprint
from models.store.manifest import Source
from models.store.store import ModelStore, StoredModel
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.hub_stream import HubStream
from quantize.gguf.header import Metadata
from quantize.job.provenance import InputHashes, hub_metadata, made_by, weight_hashes
from quantize.merge.composed_checkpoint import Parts, find_parts, is_composed
from quantize.merge.locate import Locator

_GGUF_SOURCES: Final = ("F32", "BF16", "F16", "Q8_0")


@dataclass(frozen=True)
class Request:
    """What is asked for. `split_bytes`, `stream`, `memory_bytes`: as `QuantizeOptions` has them."""

    ref: ModelRef
    types: tuple[str, ...]
    store: ModelStore
    out_dir: Path | None
    dry_run: bool
    force: bool
    split_bytes: int | None = None
    stream: bool = False
    memory_bytes: int | None = None

    @property
    def stem(self) -> str:
        return self.ref.name.rsplit("/", 1)[-1]

    def file_name(self, type_: str) -> str:
        return f"{self.stem}.{type_}.gguf"

    def free_bytes(self) -> int:
        if self.out_dir is None:
            return self.store.free_bytes()
        folder = self.out_dir.absolute()
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def existing(self, revision: str | None) -> tuple[StoredModel | None, tuple[str, ...]]:
        """The model in the store at this revision, and which of the types it has."""
        if self.out_dir is not None:
            return None, ()
        model = self.store.find(self.ref, revision)
        have = model.types if model is not None and not self.force else {}
        return model, tuple(type_ for type_ in self.types if type_ in have)


@dataclass(frozen=True)
class Found:
    """A checkpoint, and where it came from. `name` and `metadata` are for the file's metadata.

    `streamed`: the weights come from the Hub while they are quantized. `inputs`: the hashes of local files,
    being computed.
    """

    request: Request
    open: Callable[[], Checkpoint]
    source: Source
    name: str
    metadata: Metadata = field(default_factory=dict)
    streamed: HubStream | None = None
    inputs: InputHashes | None = None

    @property
    def revision(self) -> str:
        assert self.source.revision is not None
        return self.source.revision

    @property
    def all_there(self) -> bool:
        """Nothing is left to make."""
        return self.request.existing(self.revision)[1] == self.request.types


@dataclass(frozen=True)
class NotHere:
    """A dry run that would have to download first."""

    request: Request
    download: DownloadPlan


def find(
    request: Request,
    adapters: Sequence[tuple[str, float]],
    on_download: Callable[[DownloadProgress], None] | None,
    cancel: threading.Event | None,
) -> Found | NotHere:
    """The checkpoint, downloaded if need be. Raises QuantizationError, and what finding one raises."""
    ref = request.ref
    if request.stream and ref.kind != "hub":
        raise QuantizationError(f"--stream is for models of the Hub, and {ref} is none; leave it out")
    if is_composed(ref, adapters):
        locator = Locator(
            request.store.paths,
            fetch=not request.dry_run,
            on_download=on_download,
            cancel=cancel,
            stream=partial(_streamed, request, on_download, cancel) if request.stream else None,
        )
        return _composed(request, find_parts(ref, adapters, locator))
    if ref.kind == "demo":
        source = Source(kind="demo", revision=fingerprint(DEMO_DIR, contents=True))
        return _local(request, DEMO_DIR, source)
    if ref.path is not None:
        if not ref.path.is_dir() and ref.path.suffix.lower() != ".gguf":
            raise QuantizationError(
                f"{ref.path} is a file; give a folder with config.json and weights, or a GGUF"
            )
        return _local(
            request, ref.path, Source(kind="path", revision=fingerprint(ref.path), path=str(ref.path))
        )
    return _on_hub(request, on_download, cancel)


def _local(request: Request, place: Path, source: Source) -> Found:
    inputs = InputHashes(place)
    metadata = made_by(source)
    return Found(request, partial(Checkpoint.open, place), source, request.ref.name, metadata, inputs=inputs)


def _composed(request: Request, parts: Parts) -> Found:
    """A merge, or a model with adapters, under a name of its own."""
    source = Source(kind="path", revision=parts.revision, path=str(parts.place), recipe=parts.text)
    inputs = InputHashes(*(place.directory for place in parts.locations))
    metadata = made_by(source) | parts.metadata
    asked = replace(request, ref=parts.reference)
    return Found(asked, parts.open, source, parts.name, metadata, parts.stream, inputs)


def _on_hub(
    request: Request,
    on_download: Callable[[DownloadProgress], None] | None,
    cancel: threading.Event | None,
) -> Found | NotHere:
    ref = request.ref
    assert ref.repo is not None
    download = _plan_download(request)
    source = Source(
        kind="hub",
        repo=ref.repo,
        revision=download.commit,
        requested=ref.revision,
        sha256=weight_hashes(download),
    )
    streamed = _streamed(request, on_download, cancel, download) if request.stream else None
    opened = (
        streamed.open
        if streamed is not None
        else partial(_downloaded, download, request, on_download, cancel)
    )
    found = Found(request, opened, source, ref.repo, made_by(source) | hub_metadata(source), streamed)
    if request.dry_run and streamed is None and download.fetch_bytes and not found.all_there:
        return NotHere(request, download)
    return found


def _streamed(
    request: Request,
    on_download: Callable[[DownloadProgress], None] | None,
    cancel: threading.Event | None,
    download: DownloadPlan,
) -> HubStream:
    return HubStream(download, request.store.paths, on_download, cancel, request.memory_bytes)


def _downloaded(
    download: DownloadPlan,
    request: Request,
    on_download: Callable[[DownloadProgress], None] | None,
    cancel: threading.Event | None,
) -> Checkpoint:
    folder = hub.run(download, on_download, cancel, paths=request.store.paths)
    return Checkpoint.open(download.gguf_paths[0] if download.kind == "gguf" else folder)


def _plan_download(request: Request) -> DownloadPlan:
    """The weights; of a repository that has only GGUFs, that which lost least. Raises as `hub.plan`, and
    QuantizationError."""
    ref, paths = request.ref, request.store.paths
    try:
        download = hub.plan(ref, paths=paths, room=not request.stream)
        if download.kind == "checkpoint":
            return download
        found = _best_gguf(request)
    except ModelNotFound:  # of the repository, or in it: several GGUFs, none of which is the usual one
        found = _best_gguf(request)
        if found is None:
            raise
    if found is None:
        raise QuantizationError(
            f"{ref.repo} has ready GGUF files and no weights of {', '.join(_GGUF_SOURCES)} to make others of;"
            f" run: corral pull {ref}"
        )
    if request.stream:
        raise QuantizationError(f"{ref.repo} has GGUF files, and only safetensors are streamed; leave it out")
    return found


def _best_gguf(request: Request) -> DownloadPlan | None:
    for type_ in _GGUF_SOURCES:
        with contextlib.suppress(ModelNotFound):
            return hub.plan(request.ref.with_type(type_), paths=request.store.paths)
    return None
