"""`Vocab`: a model's vocabulary, text to tokens and back (llama_vocab)."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from models.errors import LlamaCppError, RequestError
from models.llamacpp import library

T = TypeVar("T")

MAX_TEXT_BYTES = 4 * 1024 * 1024
"""The longest text tokenized in one call: a million tokens of English; bounds memory and time."""

_SHALLOW_BYTES = 1024  # texts up to here recurse within any thread's stack
_STACK_BYTES_PER_BYTE = 1024  # measured: at most 340 per character
_stack_size_lock = threading.Lock()  # threading.stack_size belongs to the whole process

_TYPES = {0: "none", 1: "spm", 2: "bpe", 3: "wpm", 4: "ugm", 5: "rwkv", 6: "plamo2", 7: "test"}
_INT32_MIN = -(2**31)


class VocabOwner(Protocol):
    """The model that a vocabulary belongs to (`models.llamacpp.model.Model`)."""

    path: Path
    stop_tokens: Sequence[int]
    """Tokens that end an answer in addition to those that llama.cpp knows."""

    @property
    def pointer(self) -> int:
        """The llama_model*; raises ModelLoadError when it has been closed."""


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

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Return the tokens of `text`; runs without the GIL.

        `add_special`: BOS and EOS where the model asks for them. `parse_special`: text such as
        "<|im_end|>" becomes the special token; for text from strangers say False. A NUL is text
        like any other. Raises RequestError: lone surrogates, or more than MAX_TEXT_BYTES.
        """
        pointer = self._usable()
        try:
            data = text.encode()
        except UnicodeEncodeError as error:
            raise RequestError(
                f"the text has a lone surrogate (U+{ord(text[error.start]):04X}) at character {error.start}, "
                "which isn't valid Unicode; remove it"
            ) from None
        if len(data) > MAX_TEXT_BYTES:
            raise RequestError(
                f"the text has {len(data):,} bytes; the limit is {MAX_TEXT_BYTES:,}; shorten it"
            )
        if len(data) <= _SHALLOW_BYTES:
            return self._tokens(pointer, data, add_special, parse_special)
        stack_bytes = (len(data) * _STACK_BYTES_PER_BYTE + 2**23) & ~0xFFFF
        return call_on_stack(lambda: self._tokens(pointer, data, add_special, parse_special), stack_bytes)

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


def call_on_stack(function: Callable[[], T], stack_bytes: int) -> T:
    """Return `function()`, run on a thread with `stack_bytes` of stack; its exception comes out here.

    Several of llama.cpp's pre-tokenizers use std::regex, which recurses once per character of a match: 40,000
    digits in a row end an 8 MiB stack, and with it the process. A thread's stack is only reserved, not used,
    until something recurses that deep. Raises LlamaCppError if the system doesn't grant such a thread.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001  # raised again by the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="deep-stack")
    with _stack_size_lock:
        before = threading.stack_size(stack_bytes)
        try:
            thread.start()
        except RuntimeError:
            raise LlamaCppError(
                f"the system grants no thread with a stack of {stack_bytes >> 20} MiB; shorten the text, "
                "or raise the limit on address space"
            ) from None
        finally:
            threading.stack_size(before)
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
