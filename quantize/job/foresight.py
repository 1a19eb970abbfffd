"""Foresight: what a calibrated pass would refuse is refused before a text's moments are collected.

Collecting takes minutes, and what it brings changes neither types, nor bytes, nor memory: a plan without it
tells them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from models.errors import ConfigError, DiskFull, QuantizationError, StoreError
from models.llamacpp.model import Model
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.evaluate.windows import TextPlan, cut_windows
from quantize.gguf.header import string, uint32
from quantize.job.provenance import calibration_of
from quantize.job.request import QuantizeOptions, QuantizeRequest
from quantize.job.service import QuantizationOutcome, quantize_reference, require_so_calibrated
from quantize.moments.sampling import Sampling
from quantize.plan.types import PLAIN_TYPES, TypeChoice
from quantize.plan.vocabulary_file import vocabulary_file
from quantize.run.writer import allocated_bytes


@dataclass(frozen=True)
class TextToCollect:
    """The text whose moments a pass is going to be calibrated by: its label, and how much of it runs."""

    label: str
    plan: TextPlan

    def n_chunks(self, model: Path) -> int:
        """Return how many chunks of the text run. `model`: any file with the model's vocabulary.

        Raises ConfigError: too short a text.
        """
        with Model.load(model, vocab_only=True) as vocabulary:
            try:
                return len(cut_windows(vocabulary, self.plan))
            except ConfigError as error:
                raise ConfigError(
                    f"{self.label} is too short to calibrate on: two chunks of {self.plan.n_ctx} tokens are "
                    "needed, and some dozens are advised; give a longer text"
                ) from error

    def sampling(self, model: Path) -> Sampling:
        """Return which of its chunks are summed. Raises as `n_chunks` does."""
        return Sampling(self.n_chunks(model), self.plan.n_ctx)

    def calibration(self, model: Path) -> str:
        """Return what the store will say of files that are so calibrated. Raises as `n_chunks` does."""
        sampling = self.sampling(model)
        n_summed = sampling.n_windows - sampling.n_held_out
        keys = {
            "corral.calibration.text": string(self.label),
            "corral.calibration.tokens": uint32(n_summed * self.plan.n_ctx),
        }
        return str(calibration_of(keys))


@dataclass(frozen=True)
class Foresight:
    """The outlook of a pass. `is_needed`: something has to be made; False: all is here, so calibrated.

    `is_planned`: bytes, memory and the model itself were looked at; else its weights aren't here yet.
    """

    is_needed: bool
    is_planned: bool


def foresee(
    ref: ModelRef,
    types: Sequence[str],
    *,
    store: ModelStore,
    options: QuantizeOptions,
    text: TextToCollect,
) -> Foresight:
    """Look ahead at a pass to `types`, calibrated by the text. Nothing is written or downloaded.

    `options` are those of `quantize_reference`, without the calibration. Raises what the pass would:
    QuantizationError for types, files that are there already, too little `--memory`; StoreError for a place
    that can't be written; DiskFull; ConfigError for too short a text, also of the held-out check;
    CheckpointError; and what looking a model up raises.
    """
    choice = replace(options.choice or TypeChoice(), awaits_calibration=True)
    ahead = replace(options, choice=choice, dry_run=True)
    outcome = quantize_reference(ref, types, store=store, options=ahead)
    request = QuantizeRequest(outcome.ref, outcome.types, store, options)
    in_folder = request.existing_in_folder()
    if options.out_dir is not None and in_folder:
        path = options.out_dir / request.file_name(in_folder[0])
        raise QuantizationError(f"{path} exists; remove it, or overwrite it with --force")
    if outcome.model is not None:
        rounded = [type_ for type_ in outcome.existing if type_ not in PLAIN_TYPES]
        if rounded:
            wanted = text.calibration(outcome.model.types[rounded[0]].path)
            require_so_calibrated(outcome.ref, outcome.model, rounded, wanted)
    if outcome.existing == outcome.types:
        return Foresight(is_needed=False, is_planned=outcome.plan is not None)
    if outcome.plan is not None:
        with vocabulary_file(outcome.plan) as vocabulary:
            text.n_chunks(vocabulary)
    _require_writable(request)
    _require_room(request, outcome)
    return Foresight(is_needed=True, is_planned=outcome.plan is not None)


def _require_writable(request: QuantizeRequest) -> None:
    """Raise StoreError if the folder that the files go to can't be written."""
    out = request.options.out_dir
    folder = (request.store.paths.home if out is None else out).absolute()
    place = next(place for place in (folder, *folder.parents) if place.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise StoreError(
            f"{folder} can't be written; check the permissions of {place}, or set "
            f"{'CORRAL_HOME' if out is None else '--out'} elsewhere"
        )


def _require_room(request: QuantizeRequest, outcome: QuantizationOutcome) -> None:
    """Raise DiskFull if the files don't fit the disk. What an interrupted run left counts as free."""
    out = request.options.out_dir
    folder = request.store.paths.home if out is None else out
    left = request.store.paths.staging_dir if out is None else out
    room = outcome.free_bytes + allocated_bytes(
        left.glob("*/*.gguf" if out is None else ".*.quantize/*.gguf")
    )
    if outcome.missing_bytes > room:
        raise DiskFull(
            f"{request.stem} takes {outcome.missing_bytes:,} bytes and {folder} has {room:,} free; free "
            f"some, or set {'CORRAL_HOME' if out is None else '--out'} elsewhere"
        )
