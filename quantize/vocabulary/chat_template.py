"""A repository's chat templates, from whichever of its files has them.

The order is transformers': chat_template.jinja with additional_chat_templates/ hides tokenizer_config.json,
and what older processors wrote, chat_template.json, comes last. A file without a template hides nothing.
(For the converter tokenizer_config.json hides all others, even with a null, and without it there is none.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from models.errors import CheckpointError
from quantize.checkpoint.json_file import optional_json_object, read_bounded
from quantize.vocabulary.files import TokenizerFiles

LIMIT_BYTES = 4 * 2**20
"""A template's file may have at most this many bytes."""

DEFAULT: Final = "default"
OLDER_FILES: Final = ("chat_template.json", "processor_config.json")
TEMPLATES_FOLDER: Final = "additional_chat_templates"
"""The folder of templates beside the default one."""


def chat_templates(files: TokenizerFiles) -> tuple[str | None, Mapping[str, str]]:
    """Return the default template, and the others by name. Raises CheckpointError: one that is no text.

    Where the files of templates have no default, that of a later place is taken, and its other templates.
    """
    templates: dict[str, str] = {}
    for found in _places(files):
        templates = found | templates
        if DEFAULT in templates:
            break  # files of later places aren't read
    default = templates.pop(DEFAULT, None)
    return default, templates


def _places(files: TokenizerFiles) -> Iterator[dict[str, str]]:
    yield _own_files(files)
    yield _listed((files.tokenizer_config or {}).get("chat_template"))
    for name in OLDER_FILES:
        yield _listed((optional_json_object(files.directory / name) or {}).get("chat_template"))


def _own_files(files: TokenizerFiles) -> dict[str, str]:
    paths = sorted((files.directory / TEMPLATES_FOLDER).glob("*.jinja"))
    templates: dict[str, str] = {}
    if (files.directory / "chat_template.jinja").is_file():
        templates[DEFAULT] = _text(files, "chat_template.jinja")
    for path in paths:
        if name := _name(path.stem):
            templates[name] = _text(files, f"{TEMPLATES_FOLDER}/{path.name}")
    return templates


def _listed(value: Any) -> dict[str, str]:
    """Return the templates of a field: one text, an object of texts by name, or a list of such pairs."""
    match value:
        case str():
            return {DEFAULT: value}
        case dict():
            pairs = list(value.items())
        case list():
            pairs = [(entry.get("name"), entry.get("template")) for entry in value if isinstance(entry, dict)]
        case _:
            return {}
    named = ((_name(str(name or "")), template) for name, template in pairs)
    return {name: template for name, template in named if name and isinstance(template, str)}


def _name(text: str) -> str:
    """Return the name as a part of a metadata key may be."""
    return re.sub(r"[^A-Za-z0-9]", "_", text)


def _text(files: TokenizerFiles, name: str) -> str:
    """Return a file's text, its line ends as Python's text files have them."""
    try:
        text = read_bounded(files.directory / name, LIMIT_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{name} isn't UTF-8 text; download it again") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
