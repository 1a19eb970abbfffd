"""The vocabulary of a checkpoint, from whatever tokenizer files it has: the kind is recognised here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from models.errors import UnknownTokenizer
from quantize.vocabulary.added_tokens import COMMON, AddedTokenRules
from quantize.vocabulary.byte_fallback import byte_fallback_tokens, is_byte_fallback, merging_tokens
from quantize.vocabulary.chat_template import chat_templates
from quantize.vocabulary.files import TokenizerFiles
from quantize.vocabulary.misfits import with_distinct_texts, without_unembedded
from quantize.vocabulary.normalizer import normalizer_options
from quantize.vocabulary.pre_tokenizers import ADDING_BOS, pre_tokenizer_name
from quantize.vocabulary.sentencepiece import (
    CHATGLM_MODEL_TYPE,
    FILE_NAME,
    chatglm3_vocabulary,
    piece_table,
    piece_tokens,
    read_sentencepiece,
)
from quantize.vocabulary.slow_tokenizers import read_slow_tokenizer
from quantize.vocabulary.special_tokens import filled, special_tokens
from quantize.vocabulary.stop_tokens import with_stops
from quantize.vocabulary.tiktoken import is_tiktoken, tiktoken_vocabulary
from quantize.vocabulary.tokenizer_json import (
    WORDPIECE_PRE,
    by_id,
    json_table,
    model_vocabulary,
    read_merges,
    wordpiece_tokens,
)
from quantize.vocabulary.unigram import model_kind, model_vocabulary_of, unigram_vocabulary
from quantize.vocabulary.vocabulary import Vocabulary

OTHERS_SHARE: Final = 20
"""One in this many tokens may be another one in tokenizer.json than in tokenizer.model."""

UNIGRAM_MODEL_TYPES: Final = ("t5", "mt5", "umt5")
MERGING_MODEL_TYPES: Final = ("gemma4", "gemma4_text", "gemma4_unified", "gemma4_unified_text")
"""The models whose BPE with byte fallback llama.cpp runs by its merges."""


def read_vocabulary(
    directory: Path, config: Mapping[str, Any], n_vocab: int | None, rules: AddedTokenRules = COMMON
) -> Vocabulary:
    """Return the vocabulary of the checkpoint in `directory`, padded to `n_vocab`, the rows of its embedding.

    `rules` are the family's for added tokens in SentencePiece vocabularies.

    Raises UnknownTokenizer: none there, or one that GGUF can't express; CheckpointError: damaged files.
    """
    return vocabulary_of(TokenizerFiles.read(directory, config), n_vocab, rules)


def vocabulary_of(files: TokenizerFiles, n_vocab: int | None, rules: AddedTokenRules = COMMON) -> Vocabulary:
    """Return the vocabulary of tokenizer files. Raises as `read_vocabulary` does."""
    template, named = chat_templates(files)
    vocabulary = _without_templates(files, n_vocab, rules)
    vocabulary = dataclasses.replace(
        vocabulary,
        chat_template=template,
        named_chat_templates=named,
        tokenizer_config=files.tokenizer_config or {},
        normalizer=vocabulary.normalizer or normalizer_options(files.tokenizer),
    )
    return with_distinct_texts(with_stops(without_unembedded(vocabulary, files), files))


def _without_templates(files: TokenizerFiles, n_vocab: int | None, rules: AddedTokenRules) -> Vocabulary:
    path = files.directory / FILE_NAME
    if path.is_file() and not is_tiktoken(path):
        return _of_model_file(files, n_vocab, rules)
    vocabulary = unigram_vocabulary(files, n_vocab) or tiktoken_vocabulary(files, n_vocab)
    if vocabulary is not None:
        return vocabulary
    if files.tokenizer is None:
        older = read_slow_tokenizer(files.directory, files.tokenizer_config)
        if older is None:
            raise UnknownTokenizer(
                f"{files.directory} has neither tokenizer.model nor tokenizer.json; add the tokenizer"
            )
        files = dataclasses.replace(files, tokenizer=older)
    vocabulary = _of_tokenizer_json(files, n_vocab)
    return dataclasses.replace(vocabulary, normalizer=normalizer_options(files.tokenizer))


def _of_model_file(files: TokenizerFiles, n_vocab: int | None, rules: AddedTokenRules) -> Vocabulary:
    """Read SentencePiece's tokenizer.model.

    As in the converter, a unigram model counts as one only for T5.
    """
    if files.config.get("model_type") == CHATGLM_MODEL_TYPE:
        return chatglm3_vocabulary(files, n_vocab)
    model = read_sentencepiece(files.directory / FILE_NAME)
    if model.is_unigram and files.config.get("model_type") in UNIGRAM_MODEL_TYPES:
        return model_vocabulary_of(files, model, n_vocab)
    prefix = model.preparation.add_space_prefix
    if _is_outgrown(files, [piece.text for piece in model.pieces]):
        remark = f"tokenizer.json has tokens that {FILE_NAME} lacks, and counts, as in transformers"
        return dataclasses.replace(_of_tokenizer_json(files, n_vocab), dummy_prefix=prefix, remarks=(remark,))
    table = piece_table(files, model.pieces, n_vocab)
    tokens = piece_tokens(table, model.pieces, n_vocab, rules)
    special = filled(special_tokens(files, table, len(tokens), "llama"), model.roles, "llama")
    return Vocabulary("llama", "default", tokens, special=special, dummy_prefix=prefix, table=table)


def _is_outgrown(files: TokenizerFiles, pieces: Sequence[str]) -> bool:
    """True if a tokenizer.json of the same kind has own tokens after the pieces, or many others for them.

    Few others are usual: transformers gives some pieces of Gemma another text.
    """
    if files.tokenizer is None or not is_byte_fallback(files.tokenizer):
        return False
    added = {token.content for token in files.added_in_tokenizer()}
    own = {text: i for text, i in model_vocabulary(files.tokenizer).items() if text not in added}
    others = sum(i < len(pieces) and pieces[i] != text for text, i in own.items())
    return any(i >= len(pieces) for i in own.values()) or others > len(own) // OTHERS_SHARE


def _of_tokenizer_json(files: TokenizerFiles, n_vocab: int | None) -> Vocabulary:
    assert files.tokenizer is not None
    kind = model_kind(files.tokenizer)
    if kind not in ("BPE", "WordPiece", None) or not isinstance(files.tokenizer.get("model"), dict):
        raise UnknownTokenizer(f"tokenizer.json is of the kind {kind}; known are BPE, WordPiece and Unigram")
    table = json_table(files, n_vocab)
    if kind == "WordPiece":
        tokens = wordpiece_tokens(files, table, n_vocab)
        unknown = files.tokenizer["model"].get("unk_token")
        own = {"unk": table.ids[unknown]} if unknown in table.ids else {}
        special = filled(special_tokens(files, table, len(tokens), "bert"), own, "bert")
        return Vocabulary("bert", WORDPIECE_PRE, tokens, special=special, table=table)
    if is_byte_fallback(files.tokenizer):
        if files.config.get("model_type") in MERGING_MODEL_TYPES:
            tokens = merging_tokens(files, table, n_vocab)
            special = special_tokens(files, table, len(tokens), "gemma4")
            return Vocabulary("gemma4", "", tokens, read_merges(files), special, table=table)
        tokens = byte_fallback_tokens(files, table, n_vocab)
        special = special_tokens(files, table, len(tokens), "llama")
        return Vocabulary("llama", "default", tokens, special=special, table=table)
    tokens = by_id(table, n_vocab)
    special = special_tokens(files, table, len(tokens))
    if is_whitespace(files.tokenizer):
        return Vocabulary("whitespace", "whitespace", tokens, read_merges(files), special, table=table)
    _require_byte_level(files.tokenizer)
    pre = pre_tokenizer_name(files.tokenizer)
    if pre in ADDING_BOS and "bos" not in special.add:
        special = dataclasses.replace(special, add={**special.add, "bos": False})
    return Vocabulary("gpt2", pre, tokens, read_merges(files), special, table=table)


def is_whitespace(tokenizer: Mapping[str, Any]) -> bool:
    """True if this is a BPE over characters whose words are separated by spaces alone."""
    pre = tokenizer.get("pre_tokenizer")
    kind = pre.get("type") if isinstance(pre, dict) else None
    return model_kind(tokenizer) == "BPE" and kind in ("Whitespace", "WhitespaceSplit")


def _require_byte_level(tokenizer: Mapping[str, Any]) -> None:
    if "ByteLevel" not in _types(tokenizer.get("decoder")) | _types(tokenizer.get("pre_tokenizer")):
        raise UnknownTokenizer("tokenizer.json is a BPE over characters, not bytes; llama.cpp can't run it")


def _types(step: Any) -> set[str]:
    """Return the step's type and those of the steps in it, if it is a sequence."""
    if not isinstance(step, dict):
        return set()
    inner = step.get("decoders") or step.get("pretokenizers") or []
    children = inner if isinstance(inner, list) else []
    return {str(child.get("type")) for child in (step, *children) if isinstance(child, dict)}
