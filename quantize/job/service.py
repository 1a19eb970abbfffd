"""The service from a reference to published GGUF files, for `corral quantize` and any program.

    reference ─▶ source (here, to be downloaded or streamed) ─▶ plan ─▶ room? ─▶ run, verify ─▶ publish

Nothing becomes visible before it is whole: killed anywhere, the store is as it was, and the next run goes on
with what was done. Local folders and the demo count as the same source while their files don't change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from models.errors import CheckpointError, QuantizationError
from models.gguf.info import read_gguf_info
from models.gguf.projector import PROJECTOR_NUMBERS
from models.hub.download import DownloadPlan
from models.quantization_types import DEFAULT_TYPES
from models.reference import ModelRef, canonical_type
from models.store.manifest import Manifest
from models.store.store import ModelStore, StoredModel
from quantize.calibration.check_time import CheckWindows
from quantize.calibration.verdict import Verdict
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.control import JobControl
from quantize.job.durations import Durations, estimate_durations
from quantize.job.held_out_check import CalibratedPass, MakeAgain, room_for_check
from quantize.job.provenance import calibration_of
from quantize.job.publish import Publication, Write, publish_to_folder, publish_to_store
from quantize.job.request import QuantizeOptions, QuantizeRequest
from quantize.job.resolve_source import SIXTEEN_BITS, ResolvedSource, resolve
from quantize.kernels.compiler import KernelCompiler
from quantize.merge.borrowed_output import with_output_of
from quantize.moments.layout import MomentInfo
from quantize.moments.model_hash import model_hash
from quantize.plan.make_plan import make_plan
from quantize.plan.plan import QuantizationPlan
from quantize.plan.planned_model import PlannedModel
from quantize.plan.projector import check_numbers, with_projector
from quantize.plan.types import PLAIN_TYPES, check_types, require_roundable
from quantize.run.journal import Journal
from quantize.run.memory_budget import bounds_for
from quantize.run.pipeline import run
from quantize.run.writer import WrittenFile

_log = logging.getLogger("corral.quantize")


@dataclass(frozen=True)
class QuantizationOutcome:
    """The result of a job, or with `dry_run` what it would be."""

    ref: ModelRef
    """The model; a composed one has a name of its own."""
    types: tuple[str, ...]
    existing: tuple[str, ...]
    """The types that were there already; a dry run plans them all the same."""
    free_bytes: int
    """The bytes that are free where the files go."""
    plan: QuantizationPlan | None = None
    """The plan; None if all types existed, or if a dry run would have to download first (`download`).

    A dry run's plan has all types, those that exist, too.
    """
    files: tuple[WrittenFile, ...] = ()
    """The files that were written, by their final paths."""
    model: StoredModel | None = None
    """The model in the store, for a dry run as it is; None for files in a folder of the caller's."""
    download: DownloadPlan | None = None
    memory_bytes: int | None = None
    """The pass takes at most this much memory."""
    check_bytes: int | None = None
    """The held-out check takes this much; None where there is none, or no 16-bit file to compare with."""
    check_room: int = 0
    """The check is left out where it takes more than this much."""
    check_windows: CheckWindows | None = None
    """The windows of the check that a dry run's files will have; None where none is made."""
    durations: Durations | None = None
    """A dry run's estimate of the times that a calibration takes; None where none is there yet."""
    resumed: int = 0
    """An interrupted run had done this many tensors."""
    verified: tuple[str, ...] = ()
    """A line for each file of streamed weights says what of it was checked."""
    manifest: Manifest | None = None
    """The manifest of files in a folder of the caller's."""
    verdicts: tuple[Verdict, ...] = ()
    """The held-out check's, on each calibrated file."""

    @property
    def fits(self) -> bool:
        """True if there is room on the disk for what is planned and isn't there yet."""
        return self.missing_bytes <= self.free_bytes

    @property
    def peak_bytes(self) -> int | None:
        """The most memory that the job takes: the pass, or then the check, if that is made."""
        if not self.is_checked:
            return self.memory_bytes
        return max(self.memory_bytes or 0, self.check_bytes or 0)

    @property
    def is_checked(self) -> bool:
        """True if calibrated files are checked: there is a 16-bit file to compare with, and the memory."""
        return self.check_bytes is not None and self.check_bytes <= self.check_room

    @property
    def missing_bytes(self) -> int:
        """The size of the planned files that aren't there yet."""
        files = () if self.plan is None else self.plan.outputs
        return sum(file.size_bytes for file in files if file.type not in self.existing)


def quantize_reference(
    ref: ModelRef,
    types: Sequence[str] = (),
    *,
    store: ModelStore,
    options: QuantizeOptions | None = None,
    control: JobControl | None = None,
    kernels: KernelCompiler | None = None,
) -> QuantizationOutcome:
    """Make GGUF files of `ref` in one pass: `types`, else the reference's own, else 8, 5 and 4 bits.

    `ref` may be a merge's recipe (.yaml). It, and a model with adapters, is stored under a name of its own:
    the outcome's. Into the store, where types that are there already are skipped unless `force`; or into
    `out_dir`, where an existing file is an error unless `force`. A model that sees gets a projector's file
    beside, unless the store has one. `kernels`: those of an earlier job, to be used again.

    Blocks; calls back on this thread. Raises QuantizationError (Cancelled, if the caller cancels it),
    CheckpointError, DiskFull, StoreError, InvalidReference, and from downloading HubError and ModelNotFound.
    Nothing becomes visible then; what was done when it was interrupted is kept for the next run.
    """
    options, control = options or QuantizeOptions(), control or JobControl()
    own_types = (ref.type,) if ref.type is not None else DEFAULT_TYPES
    wanted = tuple(dict.fromkeys(canonical_type(type_) for type_ in types or own_types))
    check_types(wanted, options.choice)
    require_roundable(wanted, options.choice)
    check_numbers(options.projector or PROJECTOR_NUMBERS[0])
    resolved = resolve(QuantizeRequest(ref.with_type(None), wanted, store, options), control)
    request = resolved.request
    model, existing = request.existing(resolved.revision)
    _require_replaceable(request, model, existing)
    is_here = existing == request.types and not _lacks_projector(request, model)
    if is_here and not (options.dry_run and resolved.download is None):
        return _outcome(resolved, existing, model)
    if options.dry_run and resolved.download is not None:
        return _outcome(resolved, existing, model, download=resolved.download)
    kernels = kernels or KernelCompiler(store.paths.compiled_dir)
    with _open(resolved) as checkpoint:
        job = _Job(resolved, checkpoint, control, kernels)
        if options.dry_run:
            return job.dry_run(existing, model)
        if options.out_dir is not None:
            return job.make(request.types, None, publish_to_folder)
        with store.lock(request.ref):
            # Another process may have made some of it meanwhile.
            model, existing = request.existing(resolved.revision)
            _require_replaceable(request, model, existing)
            missing = tuple(type_ for type_ in request.types if type_ not in existing)
            if missing or _lacks_projector(request, model):
                return job.make(missing, model, publish_to_store)
            return _outcome(resolved, existing, model)


def _open(resolved: ResolvedSource) -> Checkpoint:
    """Open the checkpoint, a head's with its model's output matrix if that was asked for."""
    options, checkpoint = resolved.request.options, resolved.open()
    if not options.own_output:
        return checkpoint
    with ExitStack() as stack:
        stack.enter_context(checkpoint)
        if options.target is None:
            raise QuantizationError("--own-output is the matrix of a head's model; give it with --target")
        whole = with_output_of(checkpoint, options.target)
        stack.pop_all()
        return whole


def _require_replaceable(
    request: QuantizeRequest, model: StoredModel | None, existing: Sequence[str]
) -> None:
    """Raise QuantizationError if a calibrated file was asked for, and another of its type is here."""
    choice = request.options.choice
    if model is None or choice is None or choice.calibration is None or request.options.dry_run:
        return
    require_so_calibrated(request.ref, model, existing, calibration_of(choice.calibration.metadata()))


def _warn_of_other_model(origin: MomentInfo, sixteen_bits: Path) -> None:
    """Warn if moments aren't those of the 16-bit file that is here: they may be a relative's, on purpose."""
    if origin.model_hash != model_hash(read_gguf_info(sixteen_bits)):
        _log.warning(
            "the moments are those of another file than %s: %s; unless that is the same model, or one that "
            "you mean, collect its own: corral moments %s",
            sixteen_bits,
            origin.model,
            sixteen_bits,
        )


def require_so_calibrated(
    ref: ModelRef, model: StoredModel, types: Sequence[str], calibration: str | None
) -> None:
    """Raise QuantizationError if the store's file of one of the types wasn't rounded by this calibration.

    `calibration`: as `calibration_of` tells it. Files of types that aren't rounded are as they are.
    """
    rounded = {type_ for type_ in types if type_ not in PLAIN_TYPES}
    others = [
        file.type for file in model.manifest.files if file.type in rounded and file.calibration != calibration
    ]
    if others:
        raise QuantizationError(
            f"{ref} has {' '.join(others)} already, which wasn't calibrated so; --force replaces it "
            "by a calibrated file, and --out DIR writes that beside"
        )


def _lacks_projector(request: QuantizeRequest, model: StoredModel | None) -> bool:
    """Tell whether a projector was asked for by its numbers that the store doesn't have."""
    return request.options.projector is not None and request.missing_projector(model) is not None


@dataclass(frozen=True)
class _Job:
    """One call whose checkpoint is open."""

    resolved: ResolvedSource
    checkpoint: Checkpoint
    control: JobControl
    kernels: KernelCompiler
    verdicts: list[Verdict] = field(default_factory=list)
    """The held-out check's, once files are made."""

    def dry_run(self, existing: tuple[str, ...], model: StoredModel | None) -> QuantizationOutcome:
        request = self.resolved.request
        plan = self._plan(request.types, model)
        outcome = replace(
            self._outcome(plan, Publication()),
            existing=existing or request.existing_in_folder(),
            model=model,
        )
        check = request.options.held_out
        if check is not None and outcome.check_bytes is not None and outcome.existing != outcome.types:
            counted = check.windows(plan)
            outcome = replace(outcome, check_windows=counted if outcome.is_checked else None)
        if plan.calibration is None:
            return outcome
        run, windows = request.options.run, outcome.check_windows
        return replace(outcome, durations=estimate_durations(plan, self.kernels, run, windows=windows))

    def make(
        self,
        types: tuple[str, ...],
        model: StoredModel | None,
        publish: Callable[[ResolvedSource, QuantizationPlan, Write], Publication],
    ) -> QuantizationOutcome:
        """Make the missing `types` and the projector that `model`, the store's, lacks; publish them."""
        plan, inputs, streamed = self._plan(types, model), self.resolved.inputs, self.resolved.streamed
        if inputs is not None:
            inputs.start()
        try:
            publication = publish(self.resolved, plan, self._write)
        finally:
            if inputs is not None:
                inputs.stop()
        verified = streamed.verification_lines() if streamed is not None else ()
        return self._outcome(plan, publication, verified)

    def _plan(self, types: tuple[str, ...], model: StoredModel | None) -> QuantizationPlan:
        source, options = self.resolved, self.resolved.request.options
        name, extra = source.name, source.metadata
        wanted = types or source.request.types
        plan = make_plan(
            self.checkpoint, wanted, name=name, extra=extra, choice=options.choice, target=options.target
        )
        numbers = source.request.missing_projector(model)
        if numbers is not None:
            try:
                plan = with_projector(plan, self.checkpoint, numbers, name=name, extra=extra)
            except CheckpointError as error:
                if options.projector is not None:
                    raise
                _log.warning("%s is made without a projector, for text alone: %s", name, error.message)
        if options.projector is not None and numbers is not None and plan.projector is None:
            raise QuantizationError(f"{name} has no projector that is known here; leave out --mmproj-type")
        return plan if types else plan.of_projector_alone()

    def _write(
        self, plan: QuantizationPlan, paths: Sequence[Path], journal: Journal
    ) -> Sequence[WrittenFile]:
        if journal.done and self.control.on_resume is not None:
            self.control.on_resume(len(journal.done), len(plan.tensors))
        make = partial(
            run,
            plan,
            self.checkpoint.tensors,
            paths,
            self.resolved.request.options.run,
            journal=journal,
            control=self.control,
            kernels=self.kernels,
        )
        written = self._checked(plan, journal, make)
        if self.resolved.streamed is not None:
            self.resolved.streamed.check()
        return written

    def _checked(self, plan: QuantizationPlan, journal: Journal, make: MakeAgain) -> Sequence[WrittenFile]:
        """Return what `make` makes; with a calibration, after the held-out check."""
        options = self.resolved.request.options
        choice, check = options.choice, options.held_out
        if choice is None or choice.calibration is None:
            return make()
        sixteen_bits = self.resolved.sixteen_bits
        if sixteen_bits is not None:
            _warn_of_other_model(choice.calibration.origin, sixteen_bits)
        if check is None:
            return make()
        if sixteen_bits is not None:
            check.n_windows(sixteen_bits)
        elif plan.files and self._check_bytes(plan) is not None:
            check.windows(plan)
        written = make()
        if sixteen_bits is None and self.resolved.streamed is None:  # this pass may have made it
            sixteen_bits = next((file.path for file in written if file.type in SIXTEEN_BITS), None)
        work = CalibratedPass(
            plan,
            choice,
            journal,
            make,
            self.control,
            options.run.n_threads,
            self.kernels.quantize_rows,
            options.run.memory_bytes,
        )
        written, verdicts = check.hold_out(work, written, sixteen_bits)
        self.verdicts[:] = verdicts
        return written

    def _check_bytes(self, plan: QuantizationPlan) -> int | None:
        """Return the bytes that the held-out check takes, beside the 16-bit file that is here or is made."""
        check, path = self.resolved.request.options.held_out, self.resolved.sixteen_bits
        if check is None or not plan.is_calibrated:
            return None
        if path is not None:
            return check.memory_bytes(plan, read_gguf_info(path))
        made = next((file for file in plan.files if file.type in SIXTEEN_BITS), None)
        if made is None and plan.awaits_calibration:  # moments are those of a 16-bit file
            made = make_plan(self.checkpoint, SIXTEEN_BITS[:1]).files[0]
        if made is None or self.resolved.streamed is not None:
            return None
        return check.memory_bytes(plan, PlannedModel(made))

    def _outcome(
        self, plan: QuantizationPlan, publication: Publication, verified: tuple[str, ...] = ()
    ) -> QuantizationOutcome:
        """Return the outcome of a pass. Raises QuantizationError if it takes more memory than it may."""
        request, types = self.resolved.request, [file.type for file in plan.files]
        limits = request.options.run
        bounds = bounds_for(plan, self.checkpoint.tensors, limits.n_threads, limits.memory_bytes)
        return QuantizationOutcome(
            ref=request.ref,
            types=request.types,
            existing=tuple(type_ for type_ in request.types if type_ not in types),
            free_bytes=request.free_bytes(),
            plan=plan,
            files=publication.files,
            model=publication.model,
            memory_bytes=bounds.memory_bytes,
            check_bytes=self._check_bytes(plan),
            check_room=room_for_check(limits.memory_bytes),
            resumed=publication.resumed,
            verified=verified,
            manifest=publication.manifest,
            verdicts=tuple(self.verdicts),
        )


def _outcome(
    resolved: ResolvedSource,
    existing: tuple[str, ...],
    model: StoredModel | None,
    download: DownloadPlan | None = None,
) -> QuantizationOutcome:
    """Return the outcome of a job that makes nothing."""
    request = resolved.request
    return QuantizationOutcome(
        request.ref, request.types, existing, request.free_bytes(), model=model, download=download
    )
