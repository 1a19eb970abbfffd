"""The normalizer of a tokenizer.json, as far as llama.cpp has it: case, accents, a compiled map."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from models.errors import UnknownTokenizer

DEPTH_LIMIT = 8
"""Sequences may be nested this deep."""


def normalizer_options(tokenizer: Mapping[str, Any] | None) -> dict[str, bool]:
    """Return `lowercase` and `strip_accents` where the file says something about them."""
    options: dict[str, bool] = {}
    for step in steps((tokenizer or {}).get("normalizer"), "normalizers"):
        match step.get("type"):
            case "Lowercase":
                options["lowercase"] = True
            case "StripAccents":
                options["strip_accents"] = True
            case "BertNormalizer":
                options |= {
                    name: step[name]
                    for name in ("lowercase", "strip_accents")
                    if isinstance(step.get(name), bool)
                }
    return options


def precompiled_charsmap(tokenizer: Mapping[str, Any]) -> bytes:
    """Return the compiled normalization of a SentencePiece model; else empty. Raises UnknownTokenizer."""
    for step in steps(tokenizer.get("normalizer"), "normalizers"):
        if step.get("type") == "Precompiled":
            try:
                return base64.b64decode(step.get("precompiled_charsmap") or "", validate=True)
            except (binascii.Error, ValueError, TypeError) as error:
                raise UnknownTokenizer(
                    "precompiled_charsmap of tokenizer.json isn't base64; download it again"
                ) from error
    return b""


def steps(value: Any, inner: str, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of a tokenizer.json's step in order; those of a Sequence are under `inner`."""
    if not isinstance(value, dict) or depth > DEPTH_LIMIT:
        return
    yield value
    children = value.get(inner)
    for child in children if isinstance(children, list) else []:
        yield from steps(child, inner, depth + 1)
