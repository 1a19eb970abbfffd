"""`open_token_trie`: a vocabulary as llguidance reads it, for grammars that tokens must follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llguidance import LLTokenizer

    from models.llamacpp.vocab import Vocab


def open_token_trie(vocab: Vocab) -> LLTokenizer:
    """Return the vocabulary's tokens as a trie, which borrows `vocab`. Takes about a second for 150,000 tokens.

    Control tokens, and user-defined ones in angle brackets, are special there: plain text can't spell them.
    """
    import llama_cpp
    from llguidance.llamacpp import lltokenizer_from_vocab

    pointer = llama_cpp.llama_vocab_p(vocab.pointer)
    return lltokenizer_from_vocab(pointer, n_vocab=vocab.n_tokens, eos_token=list(vocab.eog_tokens))
