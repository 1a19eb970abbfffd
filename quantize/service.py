"""From a reference to published GGUF files: what `corral quantize` and `corral serve` call.

    reference ─▶ checkpoint folder ─▶ plan ─▶ room on the disk? ─▶ staging: run, verify ─▶ publish

Nothing becomes visible before it is whole: killed anywhere, the store is as it was, and what lies in the
staging folder is swept by the next run. Local folders and the demo count as the same source while their
files don't change.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from models.demo import DEMO_DIR
from models.durable import disk_errors, fsync_folder
from models.errors import DiskFull, QuantizationError
from models.fingerprint import fingerprint
from models.gguf_info import read_gguf_info
from models.hub import DownloadPlan, DownloadProgress
from models.hub import plan as plan_download
from models.hub import run as run_download
from models.manifest import Manifest, ManifestFile, Source
from models.reference import DEFAULT_TYPES, ModelRef, canonical_type
from models.store import ModelStore, StoredModel
from models.version import VERSION
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.gguf_header import Metadata, string
from quantize.pipeline import OnProgress, make_plan, run
from quantize.plan import PlannedFile, QuantizationPlan, check_types
from quantize.writer import WrittenFile


@dataclass(frozen=True)
class QuantizationOutcome:
    """What was done, or with `dry_run` what would be.

    `plan`: None when all types existed, or when a dry run would have to download first (`download`).
    `files`: what was written, by its final path; `existing`: types that were there already. `model`: what
    the store has now; None for files in a folder of the caller's, and for dry runs.
    """

    ref: ModelRef
    types: tuple[str, ...]
    existing: tuple[str, ...]
    plan: QuantizationPlan | None
    files: tuple[WrittenFile, ...]
    model: StoredModel | None
    free_bytes: int
    download: DownloadPlan | None = None

    @property
    def fits(self) -> bool:
        """Is there room on the disk for what is planned?"""
        return self.plan is None or self.plan.output_bytes <= self.free_bytes


def quantize_reference(  # noqa: PLR0913
    ref: ModelRef,
    types: Sequence[str] = (),
    *,
    store: ModelStore,
    out_dir: Path | None = None,
    on_download: Callable[[DownloadProgress], None] | None = None,
    on_progress: OnProgress | None = None,
    cancel: threading.Event | None = None,
    dry_run: bool = False,
    force: bool = False,
    threads: int | None = None,
) -> QuantizationOutcome:
    """Make GGUF files of `ref` in one pass: `types`, else the reference's own, else 8, 5 and 4 bits.

    Into the store, where types that are there already are skipped unless `force`; or into `out_dir` as
    `<name>.<TYPE>.gguf`, where an existing file is an error unless `force`. Blocks; calls back on this
    thread. Raises QuantizationError (also when cancelled), CheckpointError, DiskFull, StoreError,
    InvalidReference, and from downloading HubError and ModelNotFound. Nothing stays behind, also on
    KeyboardInterrupt.
    """
    wanted = tuple(dict.fromkeys(canonical_type(type_) for type_ in types or _default_types(ref)))
    check_types(wanted)
    request = _Request(ref.with_type(None), wanted, store, out_dir, dry_run, force)
    found = _find_source(request, on_download, cancel)
    if isinstance(found, QuantizationOutcome):
        return found
    with Checkpoint.open(found.directory) as checkpoint:

        def work(missing: tuple[str, ...], places: Sequence[Path]) -> list[WrittenFile]:
            result = run(
                plan_of(missing),
                checkpoint.tensors,
                places,
                on_progress=on_progress,
                threads=threads,
                cancel=cancel,
            )
            for file, planned in zip(result.files, result.plan.files, strict=True):
                verify(file, planned)
            return list(result.files)

        def plan_of(missing: tuple[str, ...]) -> QuantizationPlan:
            return make_plan(checkpoint, missing, name=found.name, extra=found.metadata)

        if dry_run or out_dir is not None:
            return _into_folder(request, found, plan_of, work)
        with store.lock(request.ref):
            return _into_store(request, found, plan_of, work)


def verify(file: WrittenFile, planned: PlannedFile) -> None:
    """Read the file's head back and compare it with the plan. Raises QuantizationError, InvalidGGUF."""
    info = read_gguf_info(file.path)
    written = [(tensor.name, tensor.shape, tensor.nbytes) for tensor in info.tensors]
    expected = [
        (tensor.name, tensor.ne, size)
        for tensor, size in zip(planned.tensors, planned.tensor_bytes, strict=True)
    ]
    if info.size_bytes != planned.size_bytes or written != expected or info.ftype != planned.type:
        raise QuantizationError(f"{file.path.name} isn't what was planned when read back; check the disk")


@dataclass(frozen=True)
class _Request:
    ref: ModelRef
    types: tuple[str, ...]
    store: ModelStore
    out_dir: Path | None
    dry_run: bool
    force: bool

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

    def existing(self, revision: str) -> tuple[StoredModel | None, tuple[str, ...]]:
        """The model in the store at this revision, and which of the types it has."""
        if self.out_dir is not None:
            return None, ()
        model = self.store.find(self.ref, revision)
        have = model.types if model is not None and not self.force else {}
        return model, tuple(type_ for type_ in self.types if type_ in have)


@dataclass(frozen=True)
class _Found:
    """A checkpoint folder, and where it came from. `name` is for the file's metadata."""

    directory: Path
    source: Source
    name: str
    metadata: Metadata

    @property
    def revision(self) -> str:
        assert self.source.revision is not None
        return self.source.revision


_PlanOf = Callable[[tuple[str, ...]], QuantizationPlan]
_Work = Callable[[tuple[str, ...], Sequence[Path]], list[WrittenFile]]


def _default_types(ref: ModelRef) -> Sequence[str]:
    return (ref.type,) if ref.type is not None else DEFAULT_TYPES


def _find_source(
    request: _Request,
    on_download: Callable[[DownloadProgress], None] | None,
    cancel: threading.Event | None,
) -> _Found | QuantizationOutcome:
    """The checkpoint folder, downloaded if need be; or the outcome, when there is nothing to do with it."""
    ref = request.ref
    made_by = {"general.quantized_by": string(f"Corral {VERSION}")}
    if ref.kind == "demo":
        source = Source(kind="demo", revision=fingerprint(DEMO_DIR, contents=True))
        found = _Found(DEMO_DIR, source, ref.name, made_by)
    elif ref.path is not None:
        if not ref.path.is_dir():
            raise QuantizationError(
                f"{ref.path} is a file; give the folder of a checkpoint with config.json and safetensors"
            )
        source = Source(kind="path", revision=fingerprint(ref.path), path=str(ref.path))
        found = _Found(ref.path, source, ref.name, made_by)
    else:
        return _find_on_hub(request, made_by, on_download, cancel)
    model, existing = request.existing(found.revision)
    return _all_there(request, model) if existing == request.types else found


def _find_on_hub(
    request: _Request,
    made_by: Metadata,
    on_download: Callable[[DownloadProgress], None] | None,
    cancel: threading.Event | None,
) -> _Found | QuantizationOutcome:
    ref, paths = request.ref, request.store.paths
    assert ref.repo is not None
    download = plan_download(ref, paths=paths)
    if download.kind != "checkpoint":
        raise QuantizationError(
            f"{ref.repo} has ready GGUF files and no other weights; run: corral pull {ref}"
        )
    model, existing = request.existing(download.commit)
    if existing == request.types:
        return _all_there(request, model)
    if request.dry_run and download.fetch_bytes:
        free = request.free_bytes()
        return QuantizationOutcome(ref, request.types, existing, None, (), None, free, download)
    directory = run_download(download, on_download, cancel, paths=paths)
    source = Source(kind="hub", repo=ref.repo, revision=download.commit, requested=ref.revision)
    metadata = made_by | {
        "general.source.huggingface.repository": string(ref.repo),
        "general.source.huggingface.commit": string(download.commit),
    }
    return _Found(directory, source, ref.repo, metadata)


def _all_there(request: _Request, model: StoredModel | None) -> QuantizationOutcome:
    free = request.free_bytes()
    return QuantizationOutcome(request.ref, request.types, request.types, None, (), model, free)


def _into_store(request: _Request, found: _Found, plan_of: _PlanOf, work: _Work) -> QuantizationOutcome:
    """With the store's lock on the model held: another process may have made some of it meanwhile."""
    model, existing = request.existing(found.revision)
    missing = tuple(type_ for type_ in request.types if type_ not in existing)
    if not missing:
        return _all_there(request, model)
    plan = plan_of(missing)
    request.store.require_free(plan.output_bytes, f"quantizing {request.ref.name} to {', '.join(missing)}")
    free = request.free_bytes()
    with request.store.staging(request.ref) as staging:
        written = work(missing, [staging.path / request.file_name(type_) for type_ in missing])
        model = staging.publish(_manifest(request, found, plan, written))
    files = tuple(replace(file, path=model.types[file.type].path) for file in written)
    return QuantizationOutcome(request.ref, request.types, existing, plan, files, model, free)


def _into_folder(request: _Request, found: _Found, plan_of: _PlanOf, work: _Work) -> QuantizationOutcome:
    """Dry runs, and files for a folder of the caller's: written under a hidden name, renamed when whole."""
    _, existing = request.existing(found.revision)
    missing = tuple(type_ for type_ in request.types if type_ not in existing)
    plan, free = plan_of(missing), request.free_bytes()
    outcome = QuantizationOutcome(request.ref, request.types, existing, plan, (), None, free)
    if request.dry_run:
        return outcome
    folder = request.out_dir
    assert folder is not None
    finals = [folder / request.file_name(type_) for type_ in missing]
    for final in finals:
        if final.exists() and not request.force:
            raise QuantizationError(f"{final} exists; remove it, or overwrite it with --force")
    if not outcome.fits:
        raise DiskFull(f"{folder} has {free:,} bytes free and {plan.output_bytes:,} are needed; free some")
    with disk_errors(f"write {request.ref.name}", folder), request.store.lock(request.ref):
        folder.mkdir(parents=True, exist_ok=True)
        parts = [final.with_name(f".{final.name}.part") for final in finals]
        try:
            for part in parts:
                part.unlink(missing_ok=True)
            written = work(missing, parts)
            for part, final in zip(parts, finals, strict=True):
                part.replace(final)
            fsync_folder(folder)
        finally:
            for part in parts:
                part.unlink(missing_ok=True)
    files = tuple(replace(file, path=final) for file, final in zip(written, finals, strict=True))
    return replace(outcome, files=files)


def _manifest(
    request: _Request, found: _Found, plan: QuantizationPlan, written: Sequence[WrittenFile]
) -> Manifest:
    return Manifest(
        name=request.ref.name,
        source=found.source,
        files=tuple(
            ManifestFile.single(
                file.type,
                file.path.name,
                file.size_bytes,
                file.sha256,
                bits_per_weight=round(file.bits_per_weight, 4),
                tensor_count=file.tensor_count,
            )
            for file in written
        ),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tools={
            "corral": VERSION,
            "llama_cpp_python": version("llama-cpp-python"),
            "gguf": version("gguf"),
        },
        architecture=plan.architecture,
        parameters=plan.n_parameters,
        context_length=plan.context_length,
    )
