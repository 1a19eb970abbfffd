"""A repository's chat templates: tokenizer_config.json, else chat_template.jinja, else chat_template.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from models.errors import CheckpointError
from quantize.checkpoint.json_file import optional_json_object, read_bounded
from quantize.vocabulary.files import TokenizerFiles

LIMIT_BYTES = 4 * 2**20


def chat_templates(files: TokenizerFiles) -> tuple[str | None, Mapping[str, str]]:
    """The default template, and the others by name. Raises CheckpointError: a template that is no text."""
    if files.tokenizer_config is None:
        return None, {}
    value = (
        files.tokenizer_config["chat_template"]
        if "chat_template" in files.tokenizer_config
        else _beside(files)
    )
    if isinstance(value, str):
        return value, {}
    default: str | None = None
    named: dict[str, str] = {}
    for entry in value if isinstance(value, list) else []:
        if not isinstance(entry, dict) or not isinstance(entry.get("template"), str):
            continue
        name = re.sub(r"[^A-Za-z0-9]", "_", str(entry.get("name", "")))
        if name == "default":
            default = entry["template"]
        elif name:
            named[name] = entry["template"]
    return default, named


def _beside(files: TokenizerFiles) -> Any:
    jinja = files.directory / "chat_template.jinja"
    if jinja.is_file():
        more = sorted((files.directory / "additional_chat_templates").glob("*.jinja"))
        if not more:
            return _text(files, "chat_template.jinja")
        templates = [{"name": "default", "template": _text(files, "chat_template.jinja")}]
        for path in more:
            template = _text(files, f"additional_chat_templates/{path.name}")
            templates.append({"name": path.stem, "template": template})
        return templates
    return (optional_json_object(files.directory / "chat_template.json") or {}).get("chat_template")


def _text(files: TokenizerFiles, name: str) -> str:
    try:
        return read_bounded(files.directory / name, LIMIT_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{name} isn't UTF-8 text; download it again") from error
