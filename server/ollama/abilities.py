"""`abilities_of`: what Ollama's clients are told that a model can do, by its header. Pure."""

from __future__ import annotations

from typing import Final

from models.gguf.info import GGUFInfo
from models.gguf.pooling import pooling_of
from models.gguf.reader import GGUFArray
from server.chat.thought_blocks import marks_in

Abilities = tuple[str, ...]

_FILL_KEYS: Final = tuple(
    f"tokenizer.ggml.{name}_token_id" for name in ("fim_pre", "fim_suf", "prefix", "suffix")
)
_FILL_TOKENS: Final = tuple(
    text.encode()
    for text in (
        *("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<PRE>", "▁<PRE>", "<｜fim▁begin｜>"),
        *("[PREFIX]", "<[fim-prefix]>", "<|code_prefix|>", "<|prefix|>"),
    )
)
"""llama.cpp, or our own table, knows the token before a gap by these texts, where the header has no key."""
_THOUGHT_WORDS: Final = ("reasoning_content", "<|channel|>analysis")
"""A template with one of these has thoughts without marks that are known: gpt-oss' channels, and others."""


def abilities_of(info: GGUFInfo) -> Abilities:
    """Return Ollama's words: completion, tools, insert, thinking; or embedding. `vision` isn't the file's.

    Every model that writes text is offered tools, if need be in a form that its prompt teaches it.
    """
    if pooling_of(info) is not None:
        return ("embedding",)
    found = ["completion", "tools"]
    if _fills_in(info):
        found.append("insert")
    if thinks(info.chat_template):
        found.append("thinking")
    return tuple(found)


def thinks(template: str | None) -> bool:
    """Return True if a chat template, by its text, is that of a model with thoughts."""
    if template is None:
        return False
    return marks_in(template) is not None or any(word in template for word in _THOUGHT_WORDS)


def _fills_in(info: GGUFInfo) -> bool:
    if any(info.integer(key) is not None for key in _FILL_KEYS):
        return True
    tokens = info.metadata.get("tokenizer.ggml.tokens")
    return isinstance(tokens, GGUFArray) and any(text in tokens.raw for text in _FILL_TOKENS)
