"""From a reference to published GGUF files: what `corral quantize` and `corral serve` call.

    reference ─▶ checkpoint (here, downloaded, streamed) ─▶ plan ─▶ room? ─▶ run, verify ─▶ publish

Nothing becomes visible before it is whole: killed anywhere, the store is as it was, and the next run goes on
with what was done. Local folders and the demo count as the same source while their files don't change.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.hub.download import DownloadPlan, DownloadProgress
from models.machine.hardware import available_cores
from models.quantization_types import DEFAULT_TYPES
from models.reference import ModelRef, canonical_type
from models.store.manifest import Manifest
from models.store.store import ModelStore, StoredModel
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.job.publish import Made, into_folder, into_store, verify
from quantize.job.resolve_source import Found, NotHere, Request, find
from quantize.plan.plan import QuantizationPlan, TypeChoice, check_types
from quantize.run.journal import Journal
from quantize.run.memory_budget import bounds_for
from quantize.run.pipeline import OnProgress, Work, make_plan, run
from quantize.run.writer import WrittenFile

__all__ = ["QuantizationOutcome", "QuantizeOptions", "quantize_reference", "verify"]


@dataclass(frozen=True)
class QuantizationOutcome:
    """What was done, or with `dry_run` what would be.

    `plan`: None when all types existed, or when a dry run would have to download first (`download`).
    `files`: what was written, by its final path; `existing`: types that were there already. `model`: what
    the store has now; None for files in a folder of the caller's, and for dry runs. `memory_bytes`: what the
    pass takes at most. `resumed`: how many tensors an interrupted run had done. `verified`: what of streamed
    weights was checked, a line each. `manifest`: of files in a folder of the caller's.
    """

    ref: ModelRef
    types: tuple[str, ...]
    existing: tuple[str, ...]
    plan: QuantizationPlan | None
    files: tuple[WrittenFile, ...]
    model: StoredModel | None
    free_bytes: int
    download: DownloadPlan | None = None
    memory_bytes: int | None = None
    resumed: int = 0
    verified: tuple[str, ...] = ()
    manifest: Manifest | None = None

    @property
    def fits(self) -> bool:
        """Is there room on the disk for what is planned?"""
        return self.plan is None or self.plan.output_bytes <= self.free_bytes


@dataclass(frozen=True)
class QuantizeOptions:
    """How it is done, beside what is made.

    `threads`: None for one per core. `memory_bytes`: the most that may be in use. `split_bytes`: outputs
    larger than that are written in parts. `stream`: weights from the Hub are never on this disk. `on_resume`
    is told of how many tensors, of how many, an interrupted run had done. `choice`: what types go by, beside
    llama.cpp's rules (an importance matrix, recipes).
    """

    threads: int | None = None
    memory_bytes: int | None = None
    split_bytes: int | None = None
    stream: bool = False
    on_resume: Callable[[int, int], None] | None = None
    choice: TypeChoice | None = None


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
    adapters: Sequence[tuple[str, float]] = (),
    options: QuantizeOptions | None = None,
) -> QuantizationOutcome:
    """Make GGUF files of `ref` in one pass: `types`, else the reference's own, else 8, 5 and 4 bits.

    `ref` may be a merge's recipe (.yaml); `adapters` are folders of PEFT adapters, each with its weight, that
    are added to it. Both are stored under a name of their own: the outcome's.

    Into the store, where types that are there already are skipped unless `force`; or into `out_dir` as
    `<name>.<TYPE>.gguf`, where an existing file is an error unless `force`. Blocks; calls back on this
    thread. Raises QuantizationError (also when cancelled), CheckpointError, DiskFull, StoreError,
    InvalidReference, and from downloading HubError and ModelNotFound. Nothing becomes visible then; what was
    done when it was interrupted is kept for the next run.
    """
    options = options or QuantizeOptions(threads=threads)
    wanted = tuple(dict.fromkeys(canonical_type(type_) for type_ in types or _default_types(ref)))
    check_types(wanted, options.choice)
    asked = Request(
        ref.with_type(None),
        wanted,
        store,
        out_dir,
        dry_run,
        force,
        split_bytes=options.split_bytes,
        stream=options.stream,
        memory_bytes=options.memory_bytes,
    )
    found = find(asked, adapters, on_download, cancel)
    if isinstance(found, NotHere):
        existing = asked.existing(found.download.commit)[1]
        free = asked.free_bytes()
        return QuantizationOutcome(asked.ref, wanted, existing, None, (), None, free, found.download)
    if found.all_there:
        return _all_there(found)
    with found.open() as checkpoint:
        job = _Job(found, checkpoint, options, on_progress, cancel)
        if dry_run or out_dir is not None:
            return job.dry() if dry_run else job.made(found.request.types, into_folder)
        with store.lock(found.request.ref):
            # Another process may have made some of it meanwhile.
            _, existing = found.request.existing(found.revision)
            missing = tuple(type_ for type_ in found.request.types if type_ not in existing)
            return job.made(missing, into_store) if missing else _all_there(found)


@dataclass(frozen=True)
class _Job:
    """One call, with its checkpoint open."""

    found: Found
    checkpoint: Checkpoint
    options: QuantizeOptions
    on_progress: OnProgress | None
    cancel: threading.Event | None

    def plan(self, types: tuple[str, ...]) -> QuantizationPlan:
        found, choice = self.found, self.options.choice
        return make_plan(self.checkpoint, types, name=found.name, extra=found.metadata, choice=choice)

    def dry(self) -> QuantizationOutcome:
        request = self.found.request
        _, existing = request.existing(self.found.revision)
        plan = self.plan(tuple(type_ for type_ in request.types if type_ not in existing))
        return self._outcome(plan, Made(()), 0)

    def made(self, types: tuple[str, ...], into: Callable[..., Made]) -> QuantizationOutcome:
        plan = self.plan(types)
        resumed = 0

        def work(plan: QuantizationPlan, paths: Sequence[Path], journal: Journal) -> Sequence[WrittenFile]:
            nonlocal resumed
            resumed = len(journal.done)
            return self._run(plan, paths, journal)

        inputs = self.found.inputs
        if inputs is not None:
            inputs.start()
        try:
            made = into(self.found, plan, work)
        finally:
            if inputs is not None:
                inputs.stop()
        return self._outcome(plan, made, resumed)

    def memory_bytes(self, plan: QuantizationPlan) -> int:
        """What the pass will take at most. Raises QuantizationError when that is more than it may."""
        threads = self.options.threads or available_cores()
        return bounds_for(plan, self.checkpoint.tensors, threads, self.options.memory_bytes).memory_bytes

    def _run(self, plan: QuantizationPlan, paths: Sequence[Path], journal: Journal) -> Sequence[WrittenFile]:
        if journal.done and self.options.on_resume is not None:
            self.options.on_resume(len(journal.done), len(plan.tensors))
        work = Work(
            threads=self.options.threads,
            memory_bytes=self.options.memory_bytes,
            split_bytes=self.options.split_bytes,
            journal=journal,
            in_source_order=self.options.stream,
            cancel=self.cancel,
        )
        written = run(plan, self.checkpoint.tensors, paths, work, on_progress=self.on_progress).files
        if self.found.streamed is not None:
            self.found.streamed.check()
        return written

    def _outcome(self, plan: QuantizationPlan, made: Made, resumed: int) -> QuantizationOutcome:
        request, types = self.found.request, [file.type for file in plan.files]
        streamed = self.found.streamed
        return QuantizationOutcome(
            ref=request.ref,
            types=request.types,
            existing=tuple(type_ for type_ in request.types if type_ not in types),
            plan=plan,
            files=made.files,
            model=made.model,
            manifest=made.manifest,
            free_bytes=request.free_bytes(),
            memory_bytes=self.memory_bytes(plan),
            resumed=resumed,
            verified=streamed.verification_lines() if streamed is not None and not request.dry_run else (),
        )


def _default_types(ref: ModelRef) -> Sequence[str]:
    return (ref.type,) if ref.type is not None else DEFAULT_TYPES


def _all_there(found: Found) -> QuantizationOutcome:
    request = found.request
    model, _ = request.existing(found.revision)
    free = request.free_bytes()
    return QuantizationOutcome(request.ref, request.types, request.types, None, (), model, free)
