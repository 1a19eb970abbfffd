"""`AnswerForm`: the form of an answer with vectors or scores, as one of the protocols has it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Protocol = Literal[
    "openai",
    "unversioned",
    "llama_server",
    "tei",
    "rerank",
    "tei_rerank",
    "score",
    "ollama",
    "ollama_single",
]
"""Whose answer it is: OpenAI's vectors, the same or llama-server's where they are tokens', llama-server's,
TEI's, Jina's and Cohere's ranks, TEI's, vLLM's scores, Ollama's
vectors, Ollama's older form."""


class AnswerForm(msgspec.Struct, frozen=True, kw_only=True):
    """The wishes of a request that the worker has no part in."""

    protocol: Protocol
    n_answers: int
    """The number of texts, or of pairs."""
    base64: bool = False
    every_token: bool = False
    """A text's answer is a list of its tokens' vectors."""
    raw_scores: bool = False
    top_n: int | None = None
    documents: tuple[Any, ...] | None = None
    """The documents, which the answer is to hold; None: it isn't."""
