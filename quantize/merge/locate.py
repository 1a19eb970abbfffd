"""Locations of models and adapters by their names: folders on this disk, downloaded if need be."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from models.demo import DEMO_DIR
from models.errors import ConfigError, QuantizationError
from models.hub.download import DownloadPlan
from models.hub.download import plan as plan_download
from models.hub.download import run as run_download
from models.paths import Paths
from models.reference import ModelRef
from models.store.fingerprint import fingerprint
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.hub_stream import HubStream
from quantize.control import JobControl


@dataclass(frozen=True)
class ModelLocation:
    """A folder with a model. `name` is `org/name` or the folder's own, `revision` its commit or fingerprint.

    With a `stream` the folder will have the small files only, and the weights come from the Hub as they are
    read.
    """

    directory: Path
    name: str
    revision: str
    stream: HubStream | None = None

    def open(self) -> Checkpoint:
        """Open the checkpoint. Raises CheckpointError, HubError."""
        return Checkpoint.open(self.directory) if self.stream is None else self.stream.open()

    @property
    def label(self) -> str:
        return f"{self.name}@{self.revision}"


@dataclass(frozen=True)
class Locator:
    """A finder of models.

    Unless `fetch`, nothing is downloaded. `stream` opens a model of the Hub as a stream.
    """

    paths: Paths
    folder: Path | None = None
    """The recipe's folder, in which relative paths are looked up too."""

    fetch: bool = True
    control: JobControl = field(default_factory=JobControl)
    stream: Callable[[DownloadPlan], HubStream] | None = None

    def model(self, text: str) -> ModelLocation:
        """Find a folder (also in the recipe's), `org/name[@revision]` or demo.

        Raises InvalidReference, ModelNotFound, ConfigError, QuantizationError (a dry run that would have to
        download), and what downloading raises.
        """
        ref = ModelRef.parse(self._text(text))
        if ref.type is not None:
            raise ConfigError(
                f"{text} names a type, and merges are made of a model's weights; leave out the type"
            )
        if ref.kind == "demo":
            return ModelLocation(DEMO_DIR, "demo", fingerprint(DEMO_DIR, contents=True))
        if ref.path is not None:
            if not ref.path.is_dir():
                raise QuantizationError(f"{ref.path} is a file; give the folder of a checkpoint")
            return ModelLocation(ref.path, ref.name, fingerprint(ref.path))
        assert ref.repo is not None
        download = plan_download(ref, paths=self.paths, room=self.stream is None)
        if download.kind != "checkpoint":
            raise QuantizationError(
                f"{ref.repo} has ready GGUF files and no other weights; merge its original"
            )
        if self.stream is not None:
            return ModelLocation(download.snapshot, ref.repo, download.commit, self.stream(download))
        if download.fetch_bytes and not self.fetch:
            raise QuantizationError(
                f"{ref} isn't here, and a dry run downloads nothing; run: corral pull {ref}"
            )
        directory = run_download(download, self.control.on_download, self.control.cancel, paths=self.paths)
        return ModelLocation(directory, ref.repo, download.commit)

    def adapter(self, text: str) -> ModelLocation:
        """Find the folder of a PEFT adapter. Raises QuantizationError if there is none."""
        folder = Path(self._text(text)).expanduser().absolute()
        if not folder.is_dir():
            raise QuantizationError(f"there is no folder {folder}; give the folder of a PEFT adapter")
        return ModelLocation(folder, folder.name, fingerprint(folder))

    def _text(self, text: str) -> str:
        """Return the path in the recipe's folder, if only that exists."""
        if self.folder is not None and not Path(text).expanduser().exists():
            near = self.folder / text
            if near.exists():
                return str(near)
        return text


def parse_adapter(text: str) -> tuple[str, float]:
    """Split `DIR[=WEIGHT]` into the folder and its weight, 1 if none is given. Raises ConfigError."""
    folder, equals, weight = text.rpartition("=")
    if not equals or Path(text).expanduser().exists():
        return text, 1.0
    try:
        value = float(weight)
    except ValueError:
        value = math.nan
    if not folder or not math.isfinite(value):
        raise ConfigError(f"{text!r} is no adapter with a weight; write DIR=0.5")
    return folder, value


def combine_revisions(*parts: str) -> str:
    """Return a local revision that changes when any of `parts` does."""
    return f"local-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}"
