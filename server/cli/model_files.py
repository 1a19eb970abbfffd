"""The files that a command works on: GGUF files by their references, and texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A GGUF file. Tables call it `label`."""

    path: Path
    label: str


def model_file(reference: str, default_type: str) -> ModelFile:
    """Return the file of `reference`, made first if it isn't here, in `default_type` if it names none.

    Raises what downloading and quantizing raise.
    """
    from models.paths import Paths
    from models.store.store import ModelStore
    from server.cli.ensure_model import ensure_entry
    from server.cli.reference import stored_reference

    store = ModelStore(Paths.from_environment())
    ref = stored_reference(reference, store)
    if ref.path is not None and ref.path.is_file():
        return ModelFile(ref.path, ref.path.stem)
    wanted = ref if ref.type is not None else ref.with_type(default_type)
    entry = ensure_entry(wanted, store, default_type)
    return ModelFile(Path(entry.path), str(wanted) if ref.path is None else f"{ref.name}:{wanted.type}")


def plain_file(path: Path) -> bytes:
    """Return the content of a file that the user named. Raises ConfigError when it can't be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror or error}; check the path") from error
