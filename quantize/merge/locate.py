"""Models by name → folders on this disk, downloaded if need be, and what says which weights they are."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.demo import DEMO_DIR
from models.errors import ConfigError, QuantizationError
from models.hub.download import DownloadPlan, DownloadProgress
from models.hub.download import plan as plan_download
from models.hub.download import run as run_download
from models.paths import Paths
from models.reference import ModelRef
from models.store.fingerprint import fingerprint
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.hub_stream import HubStream


@dataclass(frozen=True)
class Located:
    """A folder. `name`: `org/name`, or the folder's own; `revision`: its commit or fingerprint.

    `streamed`: the folder will have the small files only, the weights come from the Hub as they are read.
    """

    directory: Path
    name: str
    revision: str
    streamed: HubStream | None = None

    def open(self) -> Checkpoint:
        """Raises CheckpointError, HubError."""
        return Checkpoint.open(self.directory) if self.streamed is None else self.streamed.open()

    @property
    def label(self) -> str:
        return f"{self.name}@{self.revision}"


@dataclass(frozen=True)
class Locator:
    """Finds models. `fetch`: whether what isn't here may be downloaded. `stream`: makes weights that are
    never on this disk, of the Hub's plan of a model."""

    paths: Paths
    beside: Path | None = None
    fetch: bool = True
    on_download: Callable[[DownloadProgress], None] | None = None
    cancel: threading.Event | None = None
    stream: Callable[[DownloadPlan], HubStream] | None = None

    def model(self, text: str) -> Located:
        """A folder (also beside the recipe), `org/name[@revision]` or demo.

        Raises InvalidReference, ModelNotFound, ConfigError, QuantizationError (a dry run that would have to
        download), and what downloading raises.
        """
        ref = ModelRef.parse(self._text(text))
        if ref.type is not None:
            raise ConfigError(
                f"{text} names a type, and merges are made of a model's weights; leave out the type"
            )
        if ref.kind == "demo":
            return Located(DEMO_DIR, "demo", fingerprint(DEMO_DIR, contents=True))
        if ref.path is not None:
            if not ref.path.is_dir():
                raise QuantizationError(f"{ref.path} is a file; give the folder of a checkpoint")
            return Located(ref.path, ref.name, fingerprint(ref.path))
        assert ref.repo is not None
        download = plan_download(ref, paths=self.paths, room=self.stream is None)
        if download.kind != "checkpoint":
            raise QuantizationError(
                f"{ref.repo} has ready GGUF files and no other weights; merge its original"
            )
        if self.stream is not None:
            return Located(download.snapshot, ref.repo, download.commit, self.stream(download))
        if download.fetch_bytes and not self.fetch:
            raise QuantizationError(
                f"{ref} isn't here, and a dry run downloads nothing; run: corral pull {ref}"
            )
        directory = run_download(download, self.on_download, self.cancel, paths=self.paths)
        return Located(directory, ref.repo, download.commit)

    def adapter(self, text: str) -> Located:
        """The folder of a PEFT adapter. Raises QuantizationError if there is none."""
        folder = Path(self._text(text)).expanduser().absolute()
        if not folder.is_dir():
            raise QuantizationError(f"there is no folder {folder}; give the folder of a PEFT adapter")
        return Located(folder, folder.name, fingerprint(folder))

    def _text(self, text: str) -> str:
        """The path beside the recipe, if only that exists."""
        if self.beside is not None and not Path(text).expanduser().exists():
            near = self.beside / text
            if near.exists():
                return str(near)
        return text


def parse_adapter(text: str) -> tuple[str, float]:
    """`DIR[=WEIGHT]` → the folder and its weight, 1 if none is given. Raises ConfigError."""
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


def combined_revision(*parts: str) -> str:
    """A local revision that changes when any of `parts` does."""
    return f"local-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}"
