"""A repository's chat templates, from whichever of its files has them.

The order is tokenizer_config.json, chat_template.jinja, chat_template.json; those in
additional_chat_templates/ are added. (The converter leaves them out where tokenizer_config.json
has a template, and all templates where there is no tokenizer_config.json.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from models.errors import CheckpointError
from quantize.checkpoint.json_file import optional_json_object, read_bounded
from quantize.vocabulary.files import TokenizerFiles

LIMIT_BYTES = 4 * 2**20
"""A template's file may have at most this many bytes."""


def chat_templates(files: TokenizerFiles) -> tuple[str | None, Mapping[str, str]]:
    """Return the default template, and the others by name. Raises CheckpointError: one that is no text."""
    settings = files.tokenizer_config or {}
    value = settings["chat_template"] if "chat_template" in settings else _from_own_file(files)
    named = _additional(files)
    if isinstance(value, str):
        return value, named
    default: str | None = None
    for entry in value if isinstance(value, list) else []:
        if not isinstance(entry, dict) or not isinstance(entry.get("template"), str):
            continue
        name = _name(str(entry.get("name", "")))
        if name == "default":
            default = entry["template"]
        elif name:
            named[name] = entry["template"]
    return default, named


def _from_own_file(files: TokenizerFiles) -> Any:
    if (files.directory / "chat_template.jinja").is_file():
        return _text(files, "chat_template.jinja")
    return (optional_json_object(files.directory / "chat_template.json") or {}).get("chat_template")


def _additional(files: TokenizerFiles) -> dict[str, str]:
    paths = sorted((files.directory / "additional_chat_templates").glob("*.jinja"))
    return {_name(path.stem): _text(files, f"additional_chat_templates/{path.name}") for path in paths}


def _name(text: str) -> str:
    """Return the name as a part of a metadata key may be."""
    return re.sub(r"[^A-Za-z0-9]", "_", text)


def _text(files: TokenizerFiles, name: str) -> str:
    try:
        return read_bounded(files.directory / name, LIMIT_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{name} isn't UTF-8 text; download it again") from error
