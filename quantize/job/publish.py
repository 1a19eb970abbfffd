"""The way of a pass's outputs: a work folder first, then the store or a folder of the caller's.

work folder     the files being written, `journal` (what of them is whole), and whose work it is
interrupted     by Ctrl-C, a cancellation, a broken connection, a kill: the folder stays, and the next run
                of the same plan over the same source goes on with it
a full disk     the same, if the pass is calibrated: it took hours, not minutes
any other end   the folder goes: with an error that the next run would meet again
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from models.errors import DiskFull, DownloadCorrupt, HubError, QuantizationError
from models.gguf.info import read_gguf_info
from models.store.atomic_write import disk_errors, fsync_folder, is_full, write_atomically
from models.store.manifest import Manifest
from models.store.store import StoredModel
from quantize.control import Cancelled
from quantize.job.model_card import CARD_NAME, is_ours, model_card
from quantize.job.provenance import manifest_of, tools
from quantize.job.resolve_source import ResolvedSource
from quantize.plan.plan import PlannedFile, QuantizationPlan
from quantize.plan.split import PlannedPart, output_paths, parts
from quantize.run.journal import JOURNAL_NAME, Journal, key_of
from quantize.run.writer import WrittenFile, allocated_bytes

_log = logging.getLogger("corral.quantize")

INTERRUPTIONS: Final = (KeyboardInterrupt, Cancelled, HubError)
"""After one of these errors, the next run goes on where the work ended."""

Write = Callable[[QuantizationPlan, Sequence[Path], Journal], Sequence[WrittenFile]]
"""A function that carries out a plan, with its files at these paths, going on from the journal."""


@dataclass(frozen=True)
class Publication:
    """The files of a pass by their final paths, and the model that the store has now."""

    files: tuple[WrittenFile, ...] = ()
    model: StoredModel | None = None
    manifest: Manifest | None = None
    """The manifest of files in a folder of the caller's; the store keeps that of its own."""
    resumed: int = 0
    """An interrupted run had done this many tensors."""


def work_key(resolved: ResolvedSource, plan: QuantizationPlan) -> str:
    """Return the key of a pass, a hash over its headers, source and tools: equal keys, equal bytes."""
    digest = hashlib.sha256()
    for text in (*tools().values(), resolved.revision):
        digest.update(f"{text}\0".encode())
    for file in plan.outputs:
        for part in parts(file, resolved.request.options.run.split_bytes):
            digest.update(part.header)
    for index in range(len(plan.tensors)):
        weights = plan.weights_for(index)
        digest.update(b"" if weights is None else weights.tobytes())
    return digest.hexdigest()


def publish_to_store(resolved: ResolvedSource, plan: QuantizationPlan, write: Write) -> Publication:
    """Make the plan's files part of the store. The caller holds the store's lock on the model."""
    request, key = resolved.request, work_key(resolved, plan)
    layouts = [parts(file, request.options.run.split_bytes) for file in plan.outputs]
    what = f"quantizing {request.ref.name} to {', '.join(file.type for file in plan.outputs)}"
    with request.store.staging(request.ref, key) as staging:
        paths = [staging.path / request.file_name(file.type) for file in plan.outputs]
        journal = open_journal(staging.path, key, layouts, output_paths(paths, layouts))
        resumed = len(journal.done)
        staging.keep = bool(resumed)  # as long as nothing but room is missing
        request.store.require_free(_needed_bytes(plan, staging.path), what)
        staging.keep = False
        try:
            written = write(plan, paths, journal)
        except (*INTERRUPTIONS, OSError) as error:
            staging.keep = _worth_keeping(error, plan, journal)
            raise
        _verify_all(written, plan)
        (staging.path / JOURNAL_NAME).unlink()
        inputs = resolved.inputs.result() if resolved.inputs is not None else {}
        model = staging.publish(manifest_of(request.ref.name, resolved.source, plan, written, inputs))
    final = {file.type: file.paths for file in model.everything}
    files = tuple(replace(file, paths=final[file.type]) for file in written)
    return Publication(files, model, resumed=resumed)


def publish_to_folder(resolved: ResolvedSource, plan: QuantizationPlan, write: Write) -> Publication:
    """Write the plan's files into the caller's folder, and until they are whole into a hidden one in it."""
    request, key = resolved.request, work_key(resolved, plan)
    layouts = [parts(file, request.options.run.split_bytes) for file in plan.outputs]
    folder = request.options.out_dir
    assert folder is not None
    finals = [folder / request.file_name(file.type) for file in plan.outputs]
    for final in (path for paths in output_paths(finals, layouts) for path in paths):
        if final.exists() and not request.options.force:
            raise QuantizationError(f"{final} exists; remove it, or overwrite it with --force")
    hidden = folder / f".{request.stem}.quantize"
    free, needed = request.free_bytes(), _needed_bytes(plan, hidden)
    if needed > free:
        raise DiskFull(f"{folder} has {free:,} bytes free and {needed:,} are needed; free some")
    with disk_errors(f"write {request.ref.name}", folder, "--out"), request.store.lock(request.ref):
        hidden.mkdir(parents=True, exist_ok=True)
        paths = [hidden / final.name for final in finals]
        journal = open_journal(hidden, key, layouts, output_paths(paths, layouts))
        resumed, keep = len(journal.done), False
        try:
            written = write(plan, paths, journal)
            _verify_all(written, plan)
            files = tuple(_move(file, folder) for file in written)
            inputs = resolved.inputs.result() if resolved.inputs is not None else {}
            manifest = manifest_of(request.ref.name, resolved.source, plan, files, inputs)
            write_card(manifest, files[0].path)
            fsync_folder(folder)
        except (*INTERRUPTIONS, OSError) as error:
            keep = any(hidden.glob("*.gguf")) and _worth_keeping(error, plan, journal)
            raise
        finally:
            if not keep:
                shutil.rmtree(hidden, ignore_errors=True)
    return Publication(files, manifest=manifest, resumed=resumed)


def write_card(manifest: Manifest, first: Path) -> None:
    """Write README.md beside the `first` of the manifest's files, unless there is one of another program."""
    path = first.with_name(CARD_NAME)
    if not path.exists() or is_ours(path.read_text(encoding="utf-8", errors="replace")):
        write_atomically(path, model_card(manifest, read_gguf_info(first).metadata).encode())


def open_journal(
    folder: Path, key: str, layouts: Sequence[Sequence[PlannedPart]], outputs: Sequence[Sequence[Path]]
) -> Journal:
    """Open the journal of an earlier run of the same key in `folder`; else empty the folder and begin one."""
    path = folder / JOURNAL_NAME
    usable = key_of(path) == key and all(
        file.is_file() and file.stat().st_size == part.size_bytes
        for files, layout in zip(outputs, layouts, strict=True)
        for file, part in zip(files, layout, strict=True)
    )
    if not usable:
        path.unlink(missing_ok=True)
    journal = Journal(path, key)
    if not journal.done:
        for stale in folder.glob("*.gguf"):
            stale.unlink()
    return journal


def verify(file: WrittenFile, planned: PlannedFile) -> None:
    """Read the file's head back and compare it with the plan. Raises QuantizationError, InvalidGGUF."""
    info = read_gguf_info(file.path)
    written = [(tensor.name, tensor.shape, tensor.nbytes) for tensor in info.tensors]
    expected = [
        (tensor.name, tensor.ne, size)
        for tensor, size in zip(planned.tensors, planned.tensor_bytes, strict=True)
    ]
    kind = planned.metadata["general.file_type"].data
    is_planned = written == expected and info.integer("general.file_type") == kind
    if info.size_bytes != file.size_bytes or not is_planned:
        raise QuantizationError(f"{file.path.name} isn't what was planned when read back; check the disk")


def _verify_all(written: Sequence[WrittenFile], plan: QuantizationPlan) -> None:
    for file, planned in zip(written, plan.outputs, strict=True):
        verify(file, planned)


def _worth_keeping(error: BaseException, plan: QuantizationPlan, journal: Journal) -> bool:
    """True unless nothing was done, or weights came corrupt: they may be in any tensor.

    Files that don't work are an end unless the disk is full, and what was done took long.
    """
    if isinstance(error, OSError) and not (is_full(error) and plan.is_calibrated):
        return False
    is_kept = bool(journal.done) and not isinstance(error, DownloadCorrupt)
    if is_kept and isinstance(error, OSError):
        _log.warning("the disk is full; what is done is kept, and the same command goes on with it")
    return is_kept


def _needed_bytes(plan: QuantizationPlan, folder: Path) -> int:
    """Return the bytes of disk that the outputs still need, given what is in `folder` already."""
    return max(0, plan.output_bytes - allocated_bytes(folder.glob("*.gguf")))


def _move(file: WrittenFile, folder: Path) -> WrittenFile:
    finals = tuple(folder / path.name for path in file.paths)
    for path, final in zip(file.paths, finals, strict=True):
        path.replace(final)
    return replace(file, paths=finals)
