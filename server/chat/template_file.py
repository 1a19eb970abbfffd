"""`read_template`: the chat template that a user gives in a file, in place of the model's own."""

from __future__ import annotations

from pathlib import Path

from models.errors import ConfigError

MAX_BYTES = 1 << 20
"""A template of more bytes is refused: real ones have some ten thousand."""


class InvalidTemplateFile(ConfigError):
    """The file can't be read, or it is no text."""


def read_template(path: Path) -> str:
    """Return the template. Raises InvalidTemplateFile."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidTemplateFile(
            f"can't read the chat template {path}: {error.strerror or error}; check the path"
        ) from error
    if len(data) > MAX_BYTES:
        raise InvalidTemplateFile(
            f"the chat template {path} has over {MAX_BYTES:,} bytes, which is the limit; name another file"
        )
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidTemplateFile(f"the chat template {path} isn't UTF-8 text; name another file") from error
