"""JSON files of a checkpoint, read with a limit and with errors that name the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from models.errors import CheckpointError

LIMIT_BYTES: Final = 256 * 2**20
"""A JSON file may have at most this many bytes; the largest tokenizer.json known has about 40 MB."""


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`. Raises CheckpointError: unreadable, too large, not an object."""
    value = parse_json(read_bounded(path), path.name)
    if not isinstance(value, dict):
        raise CheckpointError(
            f"{path.name} holds a JSON {type(value).__name__}, not an object; download it again"
        )
    return value


def optional_json_object(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in `path`, None where there is no such file. Raises CheckpointError."""
    return read_json_object(path) if path.is_file() else None


def read_bounded(path: Path, limit_bytes: int = LIMIT_BYTES) -> bytes:
    """Return the file's bytes.

    Raises CheckpointError when it can't be read or is larger than `limit_bytes`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        raise CheckpointError(
            f"{path} can't be read: {error.strerror}; download the checkpoint again"
        ) from error
    if len(data) > limit_bytes:
        raise CheckpointError(
            f"{path.name} is larger than {limit_bytes:,} bytes; it isn't what its name says"
        )
    return data


def parse_json(data: bytes, what: str) -> Any:
    """Return the value of JSON text.

    Raises CheckpointError that names `what`: bad UTF-8, bad syntax, nested too deep.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{what} isn't valid JSON ({error}); download it again") from error
