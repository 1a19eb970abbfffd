"""Real vocabularies, and the jobs whose grammars are walked over them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from models.llamacpp.model import Model
from models.llamacpp.token_trie import open_token_trie
from models.llamacpp.vocab import Vocab
from server.chat.tool_formats import lark
from server.chat.tool_formats.tool_format import GrammarJob, ToolFormat
from server.chat.tools import Tool

SOURCES = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")


class Trie:
    """A vocabulary as grammars see it."""

    def __init__(self, vocab: Vocab) -> None:
        self.tokenizer: LLTokenizer = open_token_trie(vocab)
        self.vocab: Vocab | None = vocab
        self.eog = list(vocab.eog_tokens)

    def special(self, text: str) -> int | None:
        """Return the special token that is spelled so."""
        assert self.vocab is not None
        found = self.vocab.tokenize(text, add_special=False, parse_special=True)
        return found[0] if len(found) == 1 and self.tokenizer.is_special_token(found[0]) else None

    def job(
        self,
        tools: Sequence[Tool],
        *,
        required: bool,
        parallel: bool = True,
        thoughts: tuple[str, str] | None = None,
        thinks: bool = False,
    ) -> GrammarJob:
        """Return the job of a grammar over this vocabulary."""

        def mark(text: str) -> str:
            token = self.special(text)
            return lark.quoted(text) if token is None else f"<[{token}]>"

        return GrammarJob(
            tools=tools,
            required=required,
            parallel=parallel,
            mark=mark,
            is_token=lambda text: self.special(text) is not None,
            thoughts=thoughts,
            thinks=thinks,
        )

    def matcher(self, known: ToolFormat, job: GrammarJob) -> LLMatcher:
        """Return a matcher of the format's grammar, which must compile."""
        grammar = known.grammar(job)
        made = LLMatcher(self.tokenizer, grammar)
        assert not made.get_error(), f"{made.get_error()}\n{grammar}"
        return made

    def tokens(self, text: str, marks: Sequence[str] = ()) -> list[int]:
        """Return a text's tokens, those of special `marks` among them; the longest at each place."""
        found: list[int] = []
        for piece in re.split("|".join(f"({re.escape(mark)})" for mark in marks) or "(?!)", text):
            if not piece:
                continue
            special = self.special(piece)
            found += self.tokenizer.greedy_tokenize(piece) if special is None else [special]
        return found

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, special ones spelled out, as a reader is fed it."""
        assert self.vocab is not None
        return b"".join(self.vocab.piece(token, special=True) for token in tokens).decode("utf-8", "replace")


@contextmanager
def opened(name: str) -> Iterator[Trie]:
    """Open the vocabulary `ggml-vocab-<name>.gguf` of llama.cpp's sources."""
    assert SOURCES
    with Model.load(Path(SOURCES, "models", f"ggml-vocab-{name}.gguf"), vocab_only=True) as model:
        yield Trie(model.vocab)


class MarkedVocab:
    """A vocabulary of bytes, some pieces of JSON, and marks as special tokens; it is its own tokenizer."""

    bos_token_id = None
    eos_token_id = 0
    _PIECES = (' "', '": ', '", "', '{"', '"}', '": "', "Paris", "get_weather", "city", " the", "\n\n", "  ")

    def __init__(self, marks: Sequence[str]) -> None:
        self.marks = list(dict.fromkeys(marks))
        plain = [bytes([byte]) for byte in range(256)] + [piece.encode() for piece in self._PIECES]
        self.tokens = [b"\xff<end>", *plain, *(b"\xff" + mark.encode() for mark in self.marks)]
        self.special_token_ids = [0, *range(len(plain) + 1, len(self.tokens))]
        self._bytes = {token: 1 + byte for byte, token in enumerate(plain[:256])}

    def __call__(self, text: bytes | str) -> list[int]:
        """Return a token for each byte."""
        return [1 + byte for byte in (text.encode() if isinstance(text, str) else text)]


class MarkedTrie(Trie):
    """A vocabulary that has all of the marks as special tokens."""

    def __init__(self, marks: Sequence[str]) -> None:
        self._known = MarkedVocab(marks)
        self.marks = self._known.marks
        self.tokenizer = LLTokenizer(TokenizerWrapper(self._known))
        self.vocab = None
        self.eog = [0]

    def special(self, text: str) -> int | None:
        return self._known.tokens.index(b"\xff" + text.encode()) if text in self._known.marks else None

    def text(self, tokens: Sequence[int]) -> str:
        known = [self._known.tokens[token] for token in tokens]
        return b"".join(
            token[1:] if token[:1] == b"\xff" and len(token) > 1 else token for token in known
        ).decode("utf-8", "replace")
