"""From a request to the source of its weights: which checkpoint, from where, how it is opened.

Nothing is downloaded or opened here, but for the small files of a composed model; `ResolvedSource.open` does
it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from models.demo import DEMO_DIR
from models.errors import QuantizationError
from models.gguf.info import read_gguf_info
from models.hub.download import DownloadPlan
from models.llamacpp.quantization.ggml_types import GGML_TYPES, is_quantized
from models.store.fingerprint import fingerprint
from models.store.manifest import Source
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.hub_stream import HubStream
from quantize.control import JobControl
from quantize.gguf.header import Metadata
from quantize.job.hub_source import open_download, plan_download, stream_of
from quantize.job.provenance import InputHashes, hub_metadata, made_by, weight_hashes
from quantize.job.request import QuantizeRequest
from quantize.merge.composed_checkpoint import Parts, find_parts, is_composed
from quantize.merge.locate import Locator

SIXTEEN_BITS: Final = ("F16", "BF16", "F32")
"""The types of files that others are compared with."""


@dataclass(frozen=True)
class ResolvedSource:
    """A checkpoint that can be opened, and where it comes from. `name` and `metadata` go into the files."""

    request: QuantizeRequest
    """The caller's request; of a composed model, under the name that the model gets."""
    open: Callable[[], Checkpoint]
    """Download what is missing and open the checkpoint. Raises HubError, CheckpointError."""
    source: Source
    name: str
    metadata: Metadata = field(default_factory=dict)
    download: DownloadPlan | None = None
    """The download that `open` begins with; None if all files are here, or are streamed."""
    streamed: HubStream | None = None
    """The stream of the weights, where they come from the Hub while they are quantized."""
    inputs: InputHashes | None = None
    """The hashes of local files, which are computed on the way."""

    @property
    def revision(self) -> str:
        assert self.source.revision is not None
        return self.source.revision

    @property
    def sixteen_bits(self) -> Path | None:
        """The model's 16-bit GGUF file, if it is here: the source itself, or the store's.

        None for streamed weights, too, which can't be read a second time.
        """
        ref = self.request.ref
        if self.streamed is not None:
            return None
        if ref.path is not None and ref.path.is_file() and ref.path.suffix.lower() == ".gguf":
            return ref.path if _has_plain_weights(ref.path) else None
        model = self.request.store.find(ref, self.revision)
        here = {} if model is None else model.types
        return next((here[type_].path for type_ in SIXTEEN_BITS if type_ in here), None)


def _has_plain_weights(path: Path) -> bool:
    return not any(is_quantized(GGML_TYPES[tensor.type]) for tensor in read_gguf_info(path).tensors)


def resolve(request: QuantizeRequest, control: JobControl) -> ResolvedSource:
    """Return the source of the model's weights. Raises QuantizationError, and what looking for it raises."""
    ref, options = request.ref, request.options
    if options.run.stream and ref.kind != "hub":
        raise QuantizationError(f"--stream is for models of the Hub, and {ref} is none; leave it out")
    if is_composed(ref, options.adapters):
        return _composed(request, control)
    if ref.kind == "demo":
        source = Source(kind="demo", revision=fingerprint(DEMO_DIR, contents=True))
        return _local(request, DEMO_DIR, source)
    if ref.path is not None:
        if not ref.path.is_dir() and ref.path.suffix.lower() != ".gguf":
            raise QuantizationError(
                f"{ref.path} is a file; give a folder with config.json and weights, or a GGUF"
            )
        source = Source(kind="path", revision=fingerprint(ref.path), path=str(ref.path))
        return _local(request, ref.path, source)
    return _on_hub(request, control)


def _local(request: QuantizeRequest, place: Path, source: Source) -> ResolvedSource:
    return ResolvedSource(
        request,
        partial(Checkpoint.open, place),
        source,
        name=request.ref.name,
        metadata=made_by(source),
        inputs=InputHashes(place),
    )


def _composed(request: QuantizeRequest, control: JobControl) -> ResolvedSource:
    """Resolve a merge, or a model with adapters, under a name of its own."""
    options = request.options
    locator = Locator(
        request.store.paths,
        fetch=not options.dry_run,
        control=control,
        stream=partial(stream_of, request=request, control=control) if options.run.stream else None,
    )
    parts: Parts = find_parts(request.ref, options.adapters, locator)
    source = Source(kind="path", revision=parts.revision, path=str(parts.place), recipe=parts.text)
    return ResolvedSource(
        replace(request, ref=parts.reference),
        parts.open,
        source,
        name=parts.name,
        metadata=made_by(source) | parts.metadata,
        streamed=parts.stream,
        inputs=InputHashes(*(place.directory for place in parts.locations)),
    )


def _on_hub(request: QuantizeRequest, control: JobControl) -> ResolvedSource:
    ref = request.ref
    assert ref.repo is not None
    download = plan_download(request)
    source = Source(
        kind="hub",
        repo=ref.repo,
        revision=download.commit,
        requested=ref.revision,
        sha256=weight_hashes(download),
    )
    streamed = stream_of(download, request, control) if request.options.run.stream else None
    return ResolvedSource(
        request,
        partial(open_download, download, request, control) if streamed is None else streamed.open,
        source,
        name=ref.repo,
        metadata=made_by(source) | hub_metadata(source),
        download=download if streamed is None and download.fetch_bytes else None,
        streamed=streamed,
    )
