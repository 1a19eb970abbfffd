"""The marks that open and close a block of thoughts, in the chat templates of reasoning models. Pure."""

from __future__ import annotations

from typing import Any

THOUGHT_BLOCKS = (
    ("<think>", "</think>"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("<think:opensource>", "</think:opensource>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<thought>", "</thought>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
    ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"),
)
"""The opening and the closing mark of each kind of block."""

_COMPOSED = {
    ("<|open|>", "<|close|>", "<|sep|>", "'think'"): ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    ("<think{}>", ":opensource"): ("<think:opensource>", "</think:opensource>"),
}
"""Some templates put their marks together of these texts: Kimi K3's and Hunyuan's."""

THOUGHT_NAMES = ("reasoning_content", "reasoning", "thinking")
"""Templates read the thoughts of an answer under one of these names."""


def has_thoughts(text: str) -> bool:
    """Return True if a block of thoughts begins in the text: templates leave those of earlier answers out."""
    return any(opening in text for opening, _ in THOUGHT_BLOCKS)


def marks_in(source: str) -> tuple[str, str] | None:
    """Return the marks around the thoughts that a template's text knows; None if it knows none."""
    composed = next(
        (marks for words, marks in _COMPOSED.items() if all(word in source for word in words)), None
    )
    if composed is not None:
        return composed
    return next((marks for marks in THOUGHT_BLOCKS if marks[1] in source), None)


def marks_around(prompt: str, thoughts: str) -> tuple[str, str] | None:
    """Return the marks that stand around thoughts in a prompt; None if none that are known do."""
    before, found, behind = prompt.partition(thoughts)
    if not found:
        return None
    opened, closed = before.rstrip(), behind.lstrip()
    return next((m for m in THOUGHT_BLOCKS if opened.endswith(m[0]) and closed.startswith(m[1])), None)


def with_thought_parts(message: dict[str, Any]) -> dict[str, Any]:
    """Return an answer with its thoughts as the first part of its content, as Mistral's templates want."""
    thoughts, content = message.get("reasoning_content"), message.get("content")
    if message["role"] != "assistant" or not thoughts:
        return message
    said = [{"type": "text", "text": content}] if isinstance(content, str) and content else content or []
    return {**message, "content": [{"type": "thinking", "thinking": thoughts}, *said]}
