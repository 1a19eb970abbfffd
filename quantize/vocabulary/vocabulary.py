"""A vocabulary as GGUF stores it: pure data, which `read` makes from a checkpoint's tokenizer files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal

from quantize.gguf.header import Metadata, ValueType, array, boolean, string, strings, uint32
from quantize.vocabulary.token_table import TokenTable


class TokenType(IntEnum):
    """llama.cpp's token types."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


ID_KEYS = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "unk": "unknown_token_id",
    "sep": "seperator_token_id",  # the format's own spelling
    "pad": "padding_token_id",
    "mask": "mask_token_id",
    "eot": "eot_token_id",
    "eom": "eom_token_id",
}


@dataclass(frozen=True)
class Token:
    """A token; its id is its place in the vocabulary."""

    text: str
    type: TokenType
    score: float = 0.0


@dataclass(frozen=True)
class SpecialTokens:
    """The ids of tokens by their roles (`bos`, `eos`, `pad` …), and the roles that the tokenizer adds."""

    ids: Mapping[str, int] = field(default_factory=dict)
    add: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Unigram:
    """The preparation of text for a unigram model. `charsmap` is its compiled normalization."""

    add_space_prefix: bool
    remove_extra_whitespaces: bool
    charsmap: bytes = b""

    def metadata(self) -> Metadata:
        """Return the keys of the preparation."""
        keys: Metadata = {
            "tokenizer.ggml.add_space_prefix": boolean(self.add_space_prefix),
            "tokenizer.ggml.remove_extra_whitespaces": boolean(self.remove_extra_whitespaces),
        }
        if self.charsmap:
            keys["tokenizer.ggml.precompiled_charsmap"] = array(ValueType.UINT8, self.charsmap)
        return keys


@dataclass(frozen=True)
class Vocabulary:
    """A vocabulary, for one of llama.cpp's tokenizers.

    `model` is "gpt2" (byte-level BPE, with `merges`), "whitespace" (BPE over characters), "llama"
    (SentencePiece's BPE, by the tokens' scores), "gemma4" (the same by `merges`), "t5" (its unigram model, by
    their scores) or "bert" (WordPiece). `pre` is empty for one whose pre-tokenizer has no name.
    """

    model: Literal["gpt2", "whitespace", "llama", "gemma4", "t5", "bert"]
    pre: str
    tokens: Sequence[Token]
    merges: Sequence[str] = ()
    special: SpecialTokens = field(default_factory=SpecialTokens)
    chat_template: str | None = None
    named_chat_templates: Mapping[str, str] = field(default_factory=dict)
    tokenizer_config: Mapping[str, Any] = field(default_factory=dict)
    """The fields of tokenizer_config.json, from which families read more."""

    dummy_prefix: bool | None = None
    """True if a SentencePiece model puts a space before a text; None for tokenizers of other files."""

    unigram: Unigram | None = None
    """The preparation of text for a "t5" vocabulary."""

    table: TokenTable | None = None
    """The ids of the tokens' texts as the files have them."""

    stops: Sequence[int] = ()
    """The tokens that end an answer, eos first if there is one; `turn_ends` those of the chat template."""

    turn_ends: Sequence[int] = ()
    remarks: Sequence[str] = ()
    """Sentences on what was left out of the files, for people to read."""

    normalizer: Mapping[str, bool] = field(default_factory=dict)
    """The options `lowercase` and `strip_accents`, as far as tokenizer.json has them."""

    def metadata(self) -> Metadata:
        """Return the keys under `tokenizer.`."""
        keys: Metadata = {
            "tokenizer.ggml.model": string(self.model),
            **({"tokenizer.ggml.pre": string(self.pre)} if self.pre else {}),
            "tokenizer.ggml.tokens": strings([token.text for token in self.tokens]),
        }
        if self.model in ("llama", "gemma4", "t5"):
            keys["tokenizer.ggml.scores"] = array(ValueType.FLOAT32, [token.score for token in self.tokens])
        keys["tokenizer.ggml.token_type"] = array(ValueType.INT32, [int(token.type) for token in self.tokens])
        if self.merges:
            keys["tokenizer.ggml.merges"] = strings(list(self.merges))
        for role, token_id in self.special.ids.items():
            if role in ID_KEYS:
                keys[f"tokenizer.ggml.{ID_KEYS[role]}"] = uint32(token_id)
        for role in ("bos", "eos", "sep"):
            if role in self.special.add:
                keys[f"tokenizer.ggml.add_{role}_token"] = boolean(self.special.add[role])
        if self.unigram is not None:
            keys |= self.unigram.metadata()
        for option, value in self.normalizer.items():
            keys[f"tokenizer.ggml.normalizer.{option}"] = boolean(value)
        if self.named_chat_templates:
            keys["tokenizer.chat_templates"] = strings(sorted(self.named_chat_templates))
            for name, template in self.named_chat_templates.items():
                keys[f"tokenizer.chat_template.{name}"] = string(template)
        if self.chat_template is not None:
            keys["tokenizer.chat_template"] = string(self.chat_template)
        return keys
