"""The prompt format that a model wants, detected from its metadata and its name. Pure.

Order: `corral.prompt_format` in the metadata; a name that says family and version (`vicuna-7b-v1.5`); the
GGUF's own chat template; a family in the name (`gpt4-x-alpaca`); else Alpaca, which is plain text that base
models follow and whose stop ends an answer where no end-of-sequence token is learned.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from models.errors import RequestError
from server.chat.prompt_formats import TEMPLATE, canonical_name

METADATA_KEY = "corral.prompt_format"
"""A GGUF file names its prompt format under this key."""

FALLBACK = "alpaca"
"""A model that shows no format gets this one."""

_VERSIONED = (
    (re.compile(r"(?<![a-z])vicuna\b.*\bv(?:ersion)?0\b"), "vicuna_v0"),
    (re.compile(r"(?<![a-z])vicuna\b.*\bv1(?:\.[135])?\b"), "vicuna"),
)
# The first that matches counts. gpt4-x-vicuna was trained on Alpaca's form, StableVicuna on v0's.
_FAMILIES = (
    (re.compile(r"gpt4-x-vicuna"), "alpaca"),
    (re.compile(r"stable-?vicuna|guanaco"), "vicuna_v0"),
    (re.compile(r"vicuna"), "vicuna"),
    (re.compile(r"wizard-?(?:coder|math)"), "alpaca"),
    (re.compile(r"wizard-?lm"), "wizardlm"),
    (re.compile(r"koala"), "koala"),
    (re.compile(r"alpaca"), "alpaca"),
)


def detect(model_name: str, metadata: Mapping[str, str], has_template: bool) -> str:
    """Return the name of a prompt format, or `template`. `model_name` may be a reference or a file's stem."""
    declared = metadata.get(METADATA_KEY)
    if declared:
        try:
            name = canonical_name(declared)
        except RequestError:
            name = ""
        if name and (name != TEMPLATE or has_template):
            return name
    names = [
        _plain(text)
        for text in (model_name, metadata.get("general.name"), metadata.get("general.basename"))
        if text
    ]
    versioned = _first(_VERSIONED, names)
    if versioned is not None:
        return versioned
    if has_template:
        return TEMPLATE
    return _first(_FAMILIES, names) or FALLBACK


def _plain(name: str) -> str:
    """Return a name in lower case, without organisation: `lmsys/Vicuna 7B v1.5` → `vicuna-7b-v1.5`."""
    return re.sub(r"[\s_]+", "-", name.rsplit("/", 1)[-1].strip().lower())


def _first(rules: tuple[tuple[re.Pattern[str], str], ...], names: list[str]) -> str | None:
    for name in names:
        for pattern, format_name in rules:
            if pattern.search(name):
                return format_name
    return None
