"""LoRA adapters for `corral serve`: PEFT folders become GGUF files, and `--lora` fills the registry.

Converting happens in a process of its own (`python -m quantize.adapter.convert`), at the start as at run
time: the one that serves HTTP goes on meanwhile.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from models.adapter_reference import AdapterRef
from models.errors import CheckpointError, ConfigError, InvalidReference
from models.store.atomic_write import disk_errors
from models.store.fingerprint import fingerprint
from models.version import VERSION
from server.cli.console import say
from server.supervisor.adapter_registry import AdapterRegistry
from server.supervisor.adapter_service import Prepare, prepare_adapter
from server.supervisor.catalogue import CatalogueEntry

CONVERT_TIMEOUT_S = 600.0


def register_adapters(
    registry: AdapterRegistry, texts: Sequence[str], served: Sequence[CatalogueEntry], prepare: Prepare
) -> None:
    """Put what `--lora` names into the registry of the model that is served.

    Raises ConfigError for what can't be understood, RequestError for an adapter that doesn't fit.
    """
    if not texts:
        return
    names = {entry.name for entry in served}
    if len(names) != 1:
        raise ConfigError(
            f"--lora needs exactly one model to belong to, and {len(names)} are served from the start; load"
            " adapters with POST /admin/adapters, which takes a model"
        )
    for text in texts:
        try:
            ref = AdapterRef.parse(text)
        except InvalidReference as error:
            raise ConfigError(f"bad value for --lora: {error.message}") from error
        info = prepare_adapter(ref, served[0].path, prepare)
        adapter = registry.add(served[0].name, ref, info, int(time.time()), visible=True)
        say(f"adapter {adapter.id}: {adapter.full_name}, rank {info.rank}, scale {ref.scale:g}")


def converter(folder: Path) -> Prepare:
    """GGUF files as they are; PEFT adapters converted into `folder`, anew when they or the base change."""

    def prepare(path: Path, base: Path) -> Path:
        if not path.is_dir():
            return path
        key = f"{fingerprint(path)} {fingerprint(base)} {VERSION}".encode()
        out = folder / f"{path.name}-{hashlib.sha256(key).hexdigest()[:16]}.gguf"
        if not out.is_file():
            with disk_errors("make a folder for adapters", folder):
                folder.mkdir(parents=True, exist_ok=True)
            _convert(path, base, out)
        return out

    return prepare


def _convert(path: Path, base: Path, out: Path) -> None:
    """Raises CheckpointError with what the process said."""
    command = [sys.executable, "-m", "quantize.adapter.convert", str(path), str(base), str(out)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=CONVERT_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise CheckpointError(
            f"converting {path} took over {CONVERT_TIMEOUT_S:.0f} s; check the disk, or give a GGUF file"
        ) from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise CheckpointError(lines[-1] if lines else f"converting {path} ended with {done.returncode}")
