"""Compiled grammars as the worker's guides, of one vocabulary, and schemas that a tiny model can fill in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from models.llamacpp.token_trie import open_token_trie
from models.llamacpp.vocab import Vocab

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions  # only its stub has it


@dataclass(frozen=True)
class Grammar:
    """A `Guide` that llguidance compiles by itself."""

    trie: LLTokenizer
    text: str
    param: str | None = "response_format"
    limits: LLParserLimits | None = None

    def matcher(self) -> LLMatcher:
        return LLMatcher(self.trie, self.text, log_level=0, limits=self.limits)


class Grammars:
    """Makes guides for one vocabulary."""

    def __init__(self, vocab: Vocab) -> None:
        self._trie = open_token_trie(vocab)

    def schema(self, schema: dict[str, Any], *, spaces: bool = False) -> Grammar:
        options: JsonCompileOptions = {"whitespace_flexible": spaces}
        return Grammar(self._trie, LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=options))

    def lark(self, lark: str, limits: LLParserLimits | None = None) -> Grammar:
        return Grammar(self._trie, LLMatcher.grammar_from_lark(lark), limits=limits)


def small_schemas() -> list[dict[str, Any]]:
    """Schemas of 40 kinds whose texts are short: a random model must come to their ends."""
    short = {"type": "string", "maxLength": 6}
    number = {"type": "integer", "minimum": -50, "maximum": 999}
    leaves: list[dict[str, Any]] = [
        short,
        number,
        {"type": "boolean"},
        {"type": "null"},
        {"enum": ["red", "green", 3, None, {"a": 1}]},
        {"const": {"kind": "the cat", "on": [1, 2]}},
        {"type": "string", "pattern": "^[a-c]{2,4}$"},
        {"type": "number", "minimum": 0, "maximum": 1},
        {"anyOf": [number, short]},
        {"type": "string", "format": "date"},
    ]
    schemas: list[dict[str, Any]] = []
    for leaf in leaves:
        schemas += [
            {"type": "object", "properties": {"the_only_name": leaf}, "required": ["the_only_name"],
             "additionalProperties": False},
            {"type": "array", "items": leaf, "minItems": 1, "maxItems": 3},
            {"type": "object", "properties": {"first": leaf, "maybe": number}, "required": ["first"],
             "additionalProperties": False},
            {"type": "array", "prefixItems": [leaf, short], "items": False, "minItems": 2},
        ]  # fmt: skip
    return schemas
