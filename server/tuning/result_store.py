"""The results of `corral tune` on the disk: a JSON file per machine and model in CORRAL_HOME/tuning.

A file is used only if it is whole, of this version, and of exactly this machine and model file; else it is
ignored, and a log line says why.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import msgspec

from models.errors import CorralError
from models.store.atomic_write import disk_errors, write_atomically
from models.store.fingerprint import fingerprint
from server.tuning.machine import Machine, this_machine
from server.tuning.settings import Settings
from server.tuning.workload import Workload

logger = logging.getLogger("corral.tuning")


class LoadFigure(msgspec.Struct, frozen=True, kw_only=True):
    """Generated tokens per second of one load, its prompts included."""

    streams: int
    busy: bool
    default_tokens_per_s: float
    best_tokens_per_s: float


class Result(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The result of one search. Gains are logarithms, see `server.tuning.workload.gain`."""

    version: Literal[1] = 1
    """The version of this format."""
    machine: Machine
    model: str
    """The model's name, for people."""
    fingerprint: str
    settings: Settings
    defaults: Settings
    gain: float
    gain_margin: float
    noise: float
    confirmed: bool
    workload: Workload
    figures: tuple[LoadFigure, ...]
    kv_quant_gain: float | None
    n_tried: int
    elapsed_s: float
    others_cores: float
    """Other processes used this many cores when the search began."""
    created: str
    """The time is in ISO 8601, UTC."""
    corral: str


class ResultStore:
    """The folder of results, as this machine sees it."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        self._folder = folder
        self.machine = machine

    def path_of(self, model_fingerprint: str) -> Path:
        """Return the path of the result for a model file on this machine."""
        return self._folder / f"{model_fingerprint.removeprefix('local-')}-{self.machine.key}.json"

    def find(self, model_path: Path) -> Result | None:
        """Return the result for this file on this machine; nothing on the disk makes it raise."""
        try:
            mark = fingerprint(model_path)
        except CorralError as error:
            logger.warning("%s", error.message)
            return None
        result = read_result(self.path_of(mark))
        if result is None:
            return None
        if result.machine != self.machine or result.fingerprint != mark:
            logger.warning(
                "ignoring %s: it was measured on another machine or model", self.path_of(mark).name
            )
            return None
        return result

    def save(self, result: Result) -> Path:
        """Replace the earlier result of the same model and machine. Raises StoreError."""
        path = self.path_of(result.fingerprint)
        with disk_errors("keep the result", path):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
        return path


def results_here(folder: Path) -> ResultStore:
    """Return the results in `folder` for the machine of this process. It takes milliseconds."""
    return ResultStore(folder, this_machine())


def read_result(path: Path) -> Result | None:
    """Return the result in a file, None if there is none; a file that can't be used is logged in one line."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Result)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        logger.warning("ignoring %s: %s; run corral tune again", path.name, error)
        return None
