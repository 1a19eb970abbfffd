"""`obtain`: the file that serves a reference on this machine, made first where it is missing.

It is made in a process of its own, as the jobs of a server are, so the process that asks stays small.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from models.errors import CorralError, ModelNotFound
from models.reference import ModelRef
from models.store.store import ModelStore
from server.jobs.job import Job
from server.jobs.table import JobTable
from server.supervisor.catalogue import CatalogueEntry, file_entry, store_entry

PROGRESS_S = 1.0
"""Progress is told each so many seconds."""


async def obtain(
    ref: ModelRef, store: ModelStore, jobs: JobTable, tell: Callable[[str], None]
) -> CatalogueEntry:
    """Return the entry of a reference with a type, or of a GGUF file. `tell` gets progress in words.

    Raises CorralError with the reason if it can't be made.
    """
    if ref.path is not None and ref.path.is_file():
        return file_entry(ref.path, may_be_head=True)
    if (entry := _stored(ref, store)) is not None:
        return entry
    types = (ref.type,) if ref.type is not None else ()
    job = jobs.start("quantize", str(ref.with_type(None)), types)
    while job.is_running:
        tell(_line(job))
        await asyncio.sleep(PROGRESS_S)
    tell("")
    if job.problem is not None:
        raise CorralError(job.problem)
    entry = _stored(ref, store)
    if entry is None:
        raise ModelNotFound(f"{ref} was made, and isn't in the store; run `corral list` on this machine")
    return entry


def _stored(ref: ModelRef, store: ModelStore) -> CatalogueEntry | None:
    model = store.find(ref)
    if model is None or ref.type is None or ref.type not in model.types:
        return None
    return store_entry(model, model.types[ref.type])


def _line(job: Job) -> str:
    """Return how far a job is, in words."""
    match job.document():
        case {"stage": str(stage), "progress": float(share)}:
            return f"{stage} {job.model} {' '.join(job.types)}: {share:.0%}".replace("  ", " ")
    return f"making {job.model} {' '.join(job.types)}"
