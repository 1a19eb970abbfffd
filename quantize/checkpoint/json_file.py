"""JSON files of a checkpoint: bounded, and with an error that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from models.errors import CheckpointError

# The largest tokenizer.json known is about 40 MB.
LIMIT_BYTES: Final = 256 * 2**20


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`. Raises CheckpointError: unreadable, too large, not an object."""
    value = parse_json(read_bounded(path), path.name)
    if not isinstance(value, dict):
        raise CheckpointError(
            f"{path.name} holds a JSON {type(value).__name__}, not an object; download it again"
        )
    return value


def optional_json_object(path: Path) -> dict[str, Any] | None:
    """As `read_json_object`, but None where there is no such file."""
    return read_json_object(path) if path.is_file() else None


def read_bounded(path: Path, limit_bytes: int = LIMIT_BYTES) -> bytes:
    """The file's bytes. Raises CheckpointError when it can't be read or is larger than `limit_bytes`."""
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
    """`data` as JSON. Raises CheckpointError that names `what`: bad UTF-8, bad syntax, nested too deep."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{what} isn't valid JSON ({error}); download it again") from error
