"""`Vocab`: a model's vocabulary, text to tokens and back (llama_vocab)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from models.errors import LlamaCppError, RequestError
from models.llamacpp import library
from models.llamacpp.deep_stack import call_on_stack
from models.llamacpp.dry_samplers import DrySamplers
from models.llamacpp.spm_cuts import SPMCuts
from models.llamacpp.text_cuts import SpecialToken, TextCuts

MAX_TEXT_BYTES = 4 * 1024 * 1024
"""The longest text tokenized in one call: a million tokens of English; bounds memory and time."""

_SHALLOW_BYTES = 1024  # texts up to here recurse within any thread's stack
_STACK_BYTES_PER_BYTE = 1024  # measured: at most 340 per character

_TYPES = {0: "none", 1: "spm", 2: "bpe", 3: "wpm", 4: "ugm", 5: "rwkv", 6: "plamo2", 7: "test"}
_INT32_MIN = -(2**31)

# enum llama_token_attr
_UNKNOWN, _CONTROL, _USER_DEFINED, _STRIPS_LEFT, _STRIPS_RIGHT = 1 << 0, 1 << 3, 1 << 4, 1 << 7, 1 << 8

_LONG_SPM_BYTES = 8192  # below, cutting saves nothing
_COVERING_MODELS = frozenset({"llama", "gpt2", "gemma4"})
"""Tokenizers (`tokenizer.ggml.model`) that make tokens of every byte: the others drop some, or join them."""
_RAW_PRE_TOKENIZERS = frozenset({"gemma4", "granite-embed-multi-311m", "sarvam-moe"})
"""Pre-tokenizers (`tokenizer.ggml.pre`) whose tokens aren't spelled with GPT-2's letters."""
_UTF8_BYTES = (*range(0xC0), *range(0xC2, 0xF5))
"""The bytes that a text can have."""


class VocabOwner(Protocol):
    """The model that a vocabulary belongs to (`models.llamacpp.model.Model`)."""

    path: Path
    stop_tokens: Sequence[int]
    """Tokens that end an answer in addition to those that llama.cpp knows."""

    @property
    def pointer(self) -> int:
        """The llama_model*; raises ModelLoadError when it has been closed."""

    @property
    def metadata(self) -> dict[str, str]:
        """The file's keys, with their values as text."""


class Vocab:
    """A model's vocabulary; the model owns and frees it. Immutable: any thread may call any method."""

    def __init__(self, model: VocabOwner) -> None:
        native = library.load()
        self._native = native
        self._model = model
        self._pointer: int = native.llama_model_get_vocab(model.pointer)
        self.type: str = _TYPES.get(int(native.llama_vocab_type(self._pointer)), "unknown")
        self.n_tokens: int = int(native.llama_vocab_n_tokens(self._pointer))
        self._pieces: dict[tuple[int, bool], bytes] = {}
        self.dry_samplers = DrySamplers(self._pointer)
        self._tokenize = library.bind(
            "llama_tokenize",
            ctypes.c_int32,
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_int32,
            ctypes.c_void_p,
            ctypes.c_int32,
            ctypes.c_bool,
            ctypes.c_bool,
        )
        self._detokenize = library.bind(
            "llama_detokenize",
            ctypes.c_int32,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int32,
            ctypes.c_char_p,
            ctypes.c_int32,
            ctypes.c_bool,
            ctypes.c_bool,
        )

    @property
    def pointer(self) -> int:
        """The llama_vocab*, valid until the model is closed."""
        _ = self._model.pointer
        return self._pointer

    def tokenize(
        self, text: str, *, add_special: bool, parse_special: bool, enough: int | None = None
    ) -> list[int]:
        """Return the tokens of `text`; runs without the GIL, in a time that grows with the text's length.

        `add_special`: BOS and EOS where the model asks for them. `parse_special`: text such as
        "<|im_end|>" becomes the special token; for text from strangers say False. A NUL is text
        like any other. With more than `enough` tokens the rest may be left out. Raises RequestError: lone
        surrogates, or more than MAX_TEXT_BYTES.
        """
        pointer = self._usable()
        data = _encoded(text)
        if len(data) > MAX_TEXT_BYTES:
            raise RequestError(
                f"the text has {len(data):,} bytes; the limit is {MAX_TEXT_BYTES:,}; shorten it",
                code="prompt_too_large",
            )
        if len(data) <= _SHALLOW_BYTES:
            return self._tokens(pointer, data, add_special, parse_special)
        stack_bytes = (len(data) * _STACK_BYTES_PER_BYTE + 2**23) & ~0xFFFF
        return call_on_stack(
            lambda: self._tokens_of_parts(pointer, data, add_special, parse_special, enough), stack_bytes
        )

    def _tokens_of_parts(
        self, pointer: int, data: bytes, add_special: bool, parse_special: bool, enough: int | None
    ) -> list[int]:
        cuts = self._cuts_of_parsed if parse_special else self._cuts_of_plain
        begin, end = self.added_tokens if add_special else ([], [])
        tokens = begin.copy()
        for part in cuts.parts(data):
            if self.type == "spm" and len(part) > _LONG_SPM_BYTES:
                tokens += self._tokens_of_spm(pointer, part, parse_special, enough)
            else:
                tokens += self._tokens(pointer, part, add_special=False, parse_special=parse_special)
            if enough is not None and len(tokens) > enough:
                return tokens
        return tokens + end

    def _tokens_of_spm(self, pointer: int, data: bytes, parse_special: bool, enough: int | None) -> list[int]:
        first, *others = self._spm_cuts.parts(data.decode())
        tokens = self._tokens(pointer, first.encode(), add_special=False, parse_special=parse_special)
        marker = (self._spm_cuts.marker or "").encode()
        n_marker = len(self._tokens(pointer, marker, add_special=False, parse_special=False))
        for part in others:
            marked = marker + part.encode()
            found = self._tokens(pointer, marked, add_special=False, parse_special=parse_special)
            tokens += found[n_marker:]
            if enough is not None and len(tokens) > enough:
                break
        return tokens

    @cached_property
    def _spm_cuts(self) -> SPMCuts:
        attributes = self._special_attributes
        return SPMCuts(
            [text.decode("utf-8", "replace") for text in self._texts()],
            [self._special_text(token).decode("utf-8", "replace") for token in attributes],
            strips_left=any(found & _STRIPS_LEFT for found in attributes.values()),
            strips_right=any(found & _STRIPS_RIGHT for found in attributes.values()),
        )

    def _texts(self) -> list[bytes]:
        pointer, read = self._usable(), self._native.llama_vocab_get_text
        return [read(pointer, token) for token in range(self.n_tokens)]

    @cached_property
    def added_tokens(self) -> tuple[list[int], list[int]]:
        """The tokens that come before and after a text where special ones are added."""
        added = self._tokens(self.pointer, b"", add_special=True, parse_special=False)
        n_before = int(self.type == "wpm" or self.add_bos)
        return added[:n_before], added[n_before:]

    @cached_property
    def _cuts_of_parsed(self) -> TextCuts:
        return self._cuts(_CONTROL | _UNKNOWN | _USER_DEFINED)

    @cached_property
    def _cuts_of_plain(self) -> TextCuts:
        """Those that the user defined are looked for in any text."""
        return self._cuts(_USER_DEFINED, never=_CONTROL | _UNKNOWN)

    def _cuts(self, kinds: int, never: int = 0) -> TextCuts:
        return TextCuts(
            SpecialToken(
                self._special_text(token),
                bool(attributes & _STRIPS_LEFT),
                bool(attributes & _STRIPS_RIGHT),
            )
            for token, attributes in self._special_attributes.items()
            if attributes & kinds and not attributes & never
        )

    @cached_property
    def _special_attributes(self) -> dict[int, int]:
        """The attributes of all tokens that aren't ordinary text."""
        pointer, read = self._usable(), self._native.llama_vocab_get_attr
        attributes = ((token, int(read(pointer, token))) for token in range(self.n_tokens))
        return {token: found for token, found in attributes if found & (_CONTROL | _UNKNOWN | _USER_DEFINED)}

    def _special_text(self, token: int) -> bytes:
        """Return the text by which a special token is looked for, a NUL in it included."""
        if self.type in ("spm", "bpe", "wpm", "ugm"):
            return self._read_piece(token, special=True)
        found: bytes = self._native.llama_vocab_get_text(self.pointer, token)
        return found

    @cached_property
    def hidden_tokens(self) -> dict[int, str]:
        """The tokens that add nothing to the text (control tokens, the unknown one), with their names."""
        hidden = [token for token, found in self._special_attributes.items() if found & (_CONTROL | _UNKNOWN)]
        named = {token: self.piece(token, special=True).decode("utf-8", "replace") for token in hidden}
        return {token: name for token, name in named.items() if name}

    def least_tokens(self, text: str) -> int:
        """Return a number of tokens that `text` has for certain, by its length alone.

        0 where the tokenizer drops or joins text. Raises RequestError for lone surrogates.
        """
        data = _encoded(text)
        if self.bytes_per_token_max is None:
            return 0
        if any(found & (_STRIPS_LEFT | _STRIPS_RIGHT) for found in self._special_attributes.values()):
            data = data.translate(None, b" \t\n\v\f\r")
        return -(-len(data) // self.bytes_per_token_max)

    @cached_property
    def bytes_per_token_max(self) -> int | None:
        """No token stands for more bytes of a text than this; None where text may be dropped or joined.

        Whitespace that a special token strips (`_STRIPS_LEFT`, `_STRIPS_RIGHT`) isn't counted.
        """
        model, pre = (self._model.metadata.get(f"tokenizer.ggml.{key}", "") for key in ("model", "pre"))
        if model not in _COVERING_MODELS or pre == "whitespace":
            return None
        texts = self._texts()
        if model == "llama":
            return max(map(len, texts))
        if model == "gemma4" or pre in _RAW_PRE_TOKENIZERS:
            return (
                max(map(len, texts)) if {b"<0x%02X>" % byte for byte in _UTF8_BYTES} <= set(texts) else None
            )
        if not {letter.encode() for letter in _letters_of_bytes()} <= set(texts):
            return None
        specials = self._special_attributes  # a letter of another token stands for a byte
        return max(
            len(text if token in specials else text.decode("utf-8", "replace"))
            for token, text in enumerate(texts)
        )

    def _tokens(self, pointer: int, data: bytes, add_special: bool, parse_special: bool) -> list[int]:
        size = len(data) + 16  # one token per byte at worst, and a few special ones
        while True:
            buffer = np.empty(size, np.int32)
            count: int = self._tokenize(
                pointer, data, len(data), buffer.ctypes.data, size, add_special, parse_special
            )
            if count >= 0:
                tokens: list[int] = buffer[:count].tolist()
                return tokens
            if count == _INT32_MIN or -count <= size:
                raise LlamaCppError(f"llama.cpp can't tokenize a text of {len(data):,} bytes")
            size = -count

    def piece(self, token: int, special: bool = False) -> bytes:
        """Return the bytes that `token` adds to the text; may be a part of a UTF-8 character.

        `special`: spell out control tokens, which otherwise give b"".
        """
        found = self._pieces.get((token, special))
        if found is None:
            found = self._read_piece(self._check(token), special)
            self._pieces[token, special] = found
        return found

    def _read_piece(self, token: int, special: bool) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = int(self._native.llama_token_to_piece(self.pointer, token, buffer, size, 0, special))
            if length >= 0:
                return buffer.raw[:length]
            size = -length

    def detokenize(self, tokens: Sequence[int], special: bool = False) -> bytes:
        """Return the text of `tokens` as bytes, without the spaces that the model's tokenizer added."""
        pointer = self._usable()
        for token in tokens:
            self._check(token)
        ids = np.asarray(tokens, np.int32)
        size = 8 * len(ids) + 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = int(self._detokenize(pointer, ids.ctypes.data, len(ids), buffer, size, False, special))
            if length >= 0:
                return buffer.raw[:length]
            size = -length

    def text(self, token: int) -> str:
        """Return the token as the vocabulary spells it ("Ġthe", "▁the", "<0x0A>")."""
        found: bytes = self._native.llama_vocab_get_text(self._usable(), self._check(token))
        return found.decode("utf-8", "replace")

    def is_eog(self, token: int) -> bool:
        """True if the model ends its answer with this token (EOS, end of turn …)."""
        return self._check(token) in self.eog_tokens

    def is_control(self, token: int) -> bool:
        return bool(self._native.llama_vocab_is_control(self._usable(), self._check(token)))

    @cached_property
    def eog_tokens(self) -> tuple[int, ...]:
        """Every token that ends an answer, ascending: llama.cpp's and the file's own.

        An eos that llama.cpp only assumes is none unless it is a control token: in a BPE vocabulary it is
        id 11, mostly a comma.
        """
        pointer, is_eog = self._usable(), self._native.llama_vocab_is_eog
        found = {token for token in range(self.n_tokens) if is_eog(pointer, token)}
        if self.eos is None:
            found.discard(int(self._native.llama_vocab_eos(pointer)))
        return tuple(sorted(found | {token for token in self._model.stop_tokens if token < self.n_tokens}))

    @cached_property
    def suppressed_tokens(self) -> tuple[int, ...]:
        """Tokens that the model's file says must never be sampled."""
        count = ctypes.c_int32()
        found = self._native.llama_vocab_get_suppress_tokens(self.pointer, ctypes.byref(count))
        return tuple(int(found[index]) for index in range(count.value))

    @property
    def bos(self) -> int | None:
        """The begin of a text; None where llama.cpp assumes one that is no control token."""
        return self._special(self._native.llama_vocab_bos, "bos")

    @property
    def eos(self) -> int | None:
        """The end of a text; None where llama.cpp assumes one that is no control token."""
        return self._special(self._native.llama_vocab_eos, "eos")

    @property
    def eot(self) -> int | None:
        """End of turn."""
        return self._special(self._native.llama_vocab_eot)

    @property
    def sep(self) -> int | None:
        """The separator of two texts."""
        return self._special(self._native.llama_vocab_sep)

    @property
    def add_sep(self) -> bool:
        """True if a separator stands between two texts, beside what ends the first."""
        return bool(self._native.llama_vocab_get_add_sep(self.pointer))

    @property
    def add_bos(self) -> bool:
        return bool(self._native.llama_vocab_get_add_bos(self.pointer))

    @property
    def add_eos(self) -> bool:
        return bool(self._native.llama_vocab_get_add_eos(self.pointer))

    def _special(self, get: Any, role: str | None = None) -> int | None:
        token = int(get(self.pointer))
        if not 0 <= token < self.n_tokens:
            return None
        return token if role is None or self._names(role) or self.is_control(token) else None

    def _names(self, role: str) -> bool:
        """True if the file has the role's key."""
        key, buffer = f"tokenizer.ggml.{role}_token_id".encode(), ctypes.create_string_buffer(16)
        return int(self._native.llama_model_meta_val_str(self._model.pointer, key, buffer, 16)) >= 0

    def _usable(self) -> int:
        """Return the pointer. Raises LlamaCppError without a vocabulary, on which llama.cpp mostly aborts."""
        if self.type == "none":
            raise LlamaCppError(f"{self._model.path.name} has no vocabulary; only token ids work with it")
        return self.pointer

    def _check(self, token: int) -> int:
        if self.type == "none" or not 0 <= token < self.n_tokens:
            raise RequestError(
                f"token {token} is outside of this model's vocabulary of {self.n_tokens:,} tokens"
            )
        return token


def _encoded(text: str) -> bytes:
    """Return `text` as it is tokenized. Raises RequestError for lone surrogates."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            f"the text has a lone surrogate (U+{ord(text[error.start]):04X}) at character {error.start}, "
            "which isn't valid Unicode; remove it"
        ) from None


def _letters_of_bytes() -> list[str]:
    """Return the letters with which GPT-2 spells the bytes of UTF-8."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in shown]
    return [chr(byte if byte in shown else 0x100 + others.index(byte)) for byte in _UTF8_BYTES]
