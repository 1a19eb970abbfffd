"""`open_token_trie`: a vocabulary as llguidance reads it, for grammars that tokens must follow."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from models.llamacpp import library

if TYPE_CHECKING:
    from llguidance import LLTokenizer

    from models.llamacpp.vocab import Vocab

_SPECIAL = b"\xff"
"""A token's bytes begin with this where plain text can't spell it."""
_USER_DEFINED = 1 << 4
"""llama.cpp's attribute of tokens that were added to the vocabulary as text."""


def open_token_trie(vocab: Vocab) -> LLTokenizer:
    """Return the vocabulary's tokens as a trie, which borrows `vocab`. It takes about a second for 150,000.

    Tokens without text, and user-defined ones in angle brackets, are special there: plain text can't spell
    them.
    """
    from llguidance import LLTokenizer

    native = library.load()
    hidden = vocab.hidden_tokens
    tokens: list[bytes] = []
    for token in range(vocab.n_tokens):
        text = vocab.piece(token, special=True)
        in_brackets = text.startswith(b"<") and text.endswith(b">")
        is_special = token in hidden or (
            in_brackets and native.llama_vocab_get_attr(vocab.pointer, token) & _USER_DEFINED
        )
        tokens.append(_SPECIAL + text if is_special else text)
    function = native._lib.llama_tokenize  # noqa: SLF001 -- llama_cpp's own name is a Python function
    tokenize = ctypes.cast(function, ctypes.c_void_p).value
    opened: LLTokenizer = LLTokenizer.from_llamacpp(  # type: ignore[attr-defined]
        tokens=tokens,
        vocab_ptr=native.llama_vocab_p(vocab.pointer),
        tokenize_fptr=tokenize,
        eos_token=list(vocab.eog_tokens),
        slices=None,
    )
    return opened
