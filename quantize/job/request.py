"""The request for a job: the caller's options, and what they mean for the store and the disk."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from models.gguf.projector import PROJECTOR_NUMBERS, projector_numbers
from models.reference import ModelRef
from models.store.store import ModelStore, StoredModel
from quantize.job.held_out_check import HeldOutCheck
from quantize.plan.types import TypeChoice
from quantize.run.options import RunOptions


@dataclass(frozen=True)
class QuantizeOptions:
    """The options of `quantize_reference`: what is made, and where it goes."""

    adapters: tuple[tuple[str, float], ...] = ()
    """Folders of PEFT adapters, each with its weight, that are added to the model."""
    choice: TypeChoice | None = None
    """The choice of types in addition to llama.cpp's rules; None for those alone."""
    out_dir: Path | None = None
    """The folder that gets `<name>.<TYPE>.gguf` files; None for the store."""
    projector: str | None = None
    """The numbers of the projector's file, one of PROJECTOR_NUMBERS, which must be made then; None for the
    usual ones, where the store has no projector yet and one can be made."""
    with_projector: bool = True
    """A model that sees gets its projector, too."""
    dry_run: bool = False
    """The job is planned, and nothing is written."""
    force: bool = False
    """Files that are there already are made again."""
    target: Path | None = None
    """The folder of the model that a head drafts for; None for a model."""
    own_output: bool = False
    """A head gets the output matrix of `target`, in the types that are made, instead of reading the served
    model's."""
    held_out: HeldOutCheck | None = None
    """The check of calibrated files before they are published; None for none."""
    run: RunOptions = field(default_factory=RunOptions)
    """Threads, memory, parts and streaming: how the plan is carried out."""


@dataclass(frozen=True)
class QuantizeRequest:
    """A model without a type, the canonical types it is wanted in, and the caller's options."""

    ref: ModelRef
    types: tuple[str, ...]
    store: ModelStore
    options: QuantizeOptions

    @property
    def stem(self) -> str:
        """The name of the model's files without type and suffix."""
        return self.ref.name.rsplit("/", 1)[-1]

    def file_name(self, type_: str) -> str:
        """Return the name of the file of one type."""
        return f"{self.stem}.{type_}.gguf"

    def free_bytes(self) -> int:
        """Return the bytes that are free where the files go."""
        if self.options.out_dir is None:
            return self.store.free_bytes()
        folder = self.options.out_dir.absolute()
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def existing(self, revision: str | None) -> tuple[StoredModel | None, tuple[str, ...]]:
        """Return the model in the store at this revision, and which of the types it has and keeps."""
        if self.options.out_dir is not None:
            return None, ()
        model = self.store.find(self.ref, revision)
        have = model.types if model is not None and not self.options.force else {}
        return model, tuple(type_ for type_ in self.types if type_ in have)

    def missing_projector(self, model: StoredModel | None) -> str | None:
        """Return the numbers of the projector to make, given what the store has; None for none."""
        options = self.options
        if not options.with_projector:
            return None
        if model is None or model.projector_file is None or options.force or options.out_dir is not None:
            return options.projector or PROJECTOR_NUMBERS[0]
        is_wanted = options.projector in (None, projector_numbers(model.projector_file.type))
        return None if is_wanted else options.projector

    def existing_in_folder(self) -> tuple[str, ...]:
        """Return the types of which the caller's folder has a file, whole or in parts, that would be kept."""
        folder = self.options.out_dir
        if folder is None or self.options.force:
            return ()
        return tuple(type_ for type_ in self.types if _is_in(folder, self.file_name(type_)))


def _is_in(folder: Path, name: str) -> bool:
    stem = re.escape(name.removesuffix(".gguf"))
    form = re.compile(rf"{stem}(-\d{{5}}-of-\d{{5}})?\.gguf")
    return folder.is_dir() and any(form.fullmatch(path.name) for path in folder.iterdir())
