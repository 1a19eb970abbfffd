"""The flags of commands that run a text through a 16-bit model: `corral imatrix` and `corral moments`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

SixteenBits = Annotated[
    str,
    typer.Argument(metavar="REF", help="The 16-bit model: a GGUF file, or a reference; F16 if not said."),
]
CTX_HELP: Final = "Tokens of a chunk."


@dataclass(frozen=True, slots=True)
class TextRunFlags:
    """The chunks of the text that run, the threads, and what becomes of the outcome."""

    chunks: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Stop after so many chunks; not set: all of the text."),
    ] = None
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Threads; not set: one per core.")
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False

    @property
    def n_threads(self) -> int:
        """The number of threads."""
        from models.machine.hardware import available_cores

        return self.threads or available_cores()

    def model_and_target(self, reference: str, out: Path | None, what: str) -> tuple[Path, Path]:
        """Return the model's file, made if need be, and the one to write: `out`, or NAME.WHAT.gguf here.

        Raises ConfigError if that is there or can't be written, before the text runs and if it is known
        before the model is made; and what making the model raises.
        """
        from server.cli.model_files import model_file

        if out is not None:
            self._require_writable(out)
        model = model_file(reference, "F16").path
        target = out or Path(f"{model.stem}.{what}.gguf")
        self._require_writable(target)
        return model, target

    def _require_writable(self, target: Path) -> None:
        from models.errors import ConfigError

        if target.exists() and not self.force:
            raise ConfigError(f"{target} exists; remove it, or overwrite it with --force")
        folder = target.absolute().parent
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(f"{folder} is no folder that can be written; give another --out")
