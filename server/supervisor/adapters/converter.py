"""`AdapterConverter`: PEFT adapters become GGUF files, each once, in a process of its own.

The process (`python -m quantize.adapter.convert`) converts at the start as at run time, while the one that
serves HTTP goes on.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from models.errors import CheckpointError, DiskFull, StoreError
from models.machine.child_process import EXIT_DISK_FULL, EXIT_UNWRITABLE, module_command
from models.store.atomic_write import FREE_SOME, IN_THE_LOG, disk_errors
from models.store.fingerprint import fingerprint
from models.version import VERSION

TIMEOUT_S = 600.0
"""A conversion may take this many seconds."""


class AdapterConverter:
    """A `Prepare`: GGUF files are used as they are, PEFT folders are converted into `folder`.

    An adapter is converted again when its files or the base's change.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, path: Path, base: Path) -> Path:
        """Return the GGUF file of the adapter at `path` for the model file `base`.

        Blocks. Raises CheckpointError for an adapter that can't be converted, StoreError for a full disk.
        """
        if not path.is_dir():
            return path
        key = f"{fingerprint(path)} {fingerprint(base)} {VERSION}".encode()
        out = self._folder / f"{path.name}-{hashlib.sha256(key).hexdigest()[:16]}.gguf"
        if not out.is_file():
            with disk_errors("make a folder for adapters", self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
            _convert(path, base, out)
        return out


def _convert(path: Path, base: Path, out: Path) -> None:
    """Run the conversion. Raises CheckpointError or StoreError with the last line that it wrote."""
    command = module_command("quantize.adapter.convert", str(path), str(base), str(out))
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise CheckpointError(
            f"converting {path} took over {TIMEOUT_S:.0f} s; check the disk, or give a GGUF file"
        ) from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        last = lines[-1] if lines else f"converting {path} ended with {done.returncode}"
        if done.returncode == EXIT_DISK_FULL:
            raise DiskFull(last, f"can't write the adapter: {FREE_SOME}")
        if done.returncode == EXIT_UNWRITABLE:
            raise StoreError(last, f"can't write the adapter; {IN_THE_LOG}")
        raise CheckpointError(last)
