"""From a checkpoint's tokenizer files to its vocabulary: which kind it is, and all its parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from models.errors import UnknownTokenizer
from quantize.vocabulary.added_tokens import COMMON, AddedTokenRules
from quantize.vocabulary.byte_fallback import byte_fallback_tokens, is_byte_fallback
from quantize.vocabulary.byte_level import byte_level_tokens, read_merges
from quantize.vocabulary.chat_template import chat_templates
from quantize.vocabulary.chatglm3 import MODEL_TYPE as CHATGLM
from quantize.vocabulary.chatglm3 import chatglm3_vocabulary
from quantize.vocabulary.files import TokenizerFiles
from quantize.vocabulary.normalizer import normalizer_options
from quantize.vocabulary.pre_tokenizers import ADDING_BOS, pre_tokenizer_name
from quantize.vocabulary.sentencepiece import FILE_NAME, read_sentencepiece, sentencepiece_tokens
from quantize.vocabulary.slow_tokenizers import older_tokenizer
from quantize.vocabulary.special_tokens import special_tokens
from quantize.vocabulary.tiktoken import is_tiktoken, tiktoken_vocabulary
from quantize.vocabulary.unigram import model_kind, model_vocabulary_of, unigram_vocabulary
from quantize.vocabulary.vocabulary import Vocabulary
from quantize.vocabulary.wordpiece import PRE, wordpiece_tokens

UNIGRAM_MODEL_TYPES: Final = ("t5", "mt5", "umt5")


def read_vocabulary(
    directory: Path, config: Mapping[str, Any], n_vocab: int | None, rules: AddedTokenRules = COMMON
) -> Vocabulary:
    """The vocabulary of the checkpoint in `directory`, padded to `n_vocab`, the rows of its embedding.

    `rules`: what the family makes of added tokens in SentencePiece vocabularies.

    Raises UnknownTokenizer: none there, or one that GGUF can't express; CheckpointError: damaged files.
    """
    return vocabulary_of(TokenizerFiles.read(directory, config), n_vocab, rules)


def vocabulary_of(files: TokenizerFiles, n_vocab: int | None, rules: AddedTokenRules = COMMON) -> Vocabulary:
    """As `read_vocabulary`, from files already read."""
    template, named = chat_templates(files)
    found = _without_templates(files, n_vocab, rules)
    return dataclasses.replace(
        found,
        chat_template=template,
        named_chat_templates=named,
        tokenizer_config=files.tokenizer_config or {},
        normalizer=found.normalizer or normalizer_options(files.tokenizer),
    )


def _without_templates(files: TokenizerFiles, n_vocab: int | None, rules: AddedTokenRules) -> Vocabulary:
    path = files.directory / FILE_NAME
    if path.is_file() and not is_tiktoken(path):
        return _of_model_file(files, n_vocab, rules)
    found = unigram_vocabulary(files, n_vocab) or tiktoken_vocabulary(files, n_vocab)
    if found is not None:
        return found
    if files.tokenizer is None:
        older = older_tokenizer(files.directory, files.tokenizer_config)
        if older is None:
            raise UnknownTokenizer(
                f"{files.directory} has neither tokenizer.model nor tokenizer.json; add the tokenizer"
            )
        files = dataclasses.replace(files, tokenizer=older)
    found = _of_tokenizer_json(files, n_vocab)
    return dataclasses.replace(found, normalizer=normalizer_options(files.tokenizer))


def _of_model_file(files: TokenizerFiles, n_vocab: int | None, rules: AddedTokenRules) -> Vocabulary:
    """SentencePiece's tokenizer.model. As in the converter a unigram model counts as one only for T5."""
    if files.config.get("model_type") == CHATGLM:
        return chatglm3_vocabulary(files, n_vocab)
    model = read_sentencepiece(files.directory / FILE_NAME)
    if model.is_unigram and files.config.get("model_type") in UNIGRAM_MODEL_TYPES:
        return model_vocabulary_of(files, model, n_vocab)
    tokens = sentencepiece_tokens(files, n_vocab, rules)
    special = special_tokens(files, len(tokens))
    prefix = model.preparation.add_space_prefix
    return Vocabulary("llama", "default", tokens, special=special, dummy_prefix=prefix)


def _of_tokenizer_json(files: TokenizerFiles, n_vocab: int | None) -> Vocabulary:
    assert files.tokenizer is not None
    if model_kind(files.tokenizer) == "WordPiece":
        tokens = wordpiece_tokens(files, n_vocab)
        return Vocabulary("bert", PRE, tokens, special=special_tokens(files, len(tokens)))
    if is_byte_fallback(files.tokenizer):
        tokens = byte_fallback_tokens(files, n_vocab)
        return Vocabulary("llama", "default", tokens, special=special_tokens(files, len(tokens)))
    if is_whitespace(files.tokenizer):
        tokens = byte_level_tokens(files, n_vocab)
        return Vocabulary("whitespace", "whitespace", tokens, read_merges(files), special_tokens(files))
    _require_byte_level(files.tokenizer)
    tokens = byte_level_tokens(files, n_vocab)
    pre = pre_tokenizer_name(files.tokenizer)
    special = special_tokens(files)
    if pre in ADDING_BOS and "bos" not in special.add:
        special = dataclasses.replace(special, add={**special.add, "bos": False})
    return Vocabulary("gpt2", pre, tokens, read_merges(files), special)


def is_whitespace(tokenizer: Mapping[str, Any]) -> bool:
    """Is this a BPE over characters whose words are what stands between spaces?"""
    pre = tokenizer.get("pre_tokenizer")
    kind = pre.get("type") if isinstance(pre, dict) else None
    return model_kind(tokenizer) == "BPE" and kind in ("Whitespace", "WhitespaceSplit")


def _require_byte_level(tokenizer: Mapping[str, Any]) -> None:
    model = tokenizer.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if kind not in ("BPE", None) or not isinstance(model, dict):
        raise UnknownTokenizer(f"tokenizer.json is of the kind {kind}; known are BPE, WordPiece and Unigram")
    if "ByteLevel" not in _types(tokenizer.get("decoder")) | _types(tokenizer.get("pre_tokenizer")):
        raise UnknownTokenizer("tokenizer.json is a BPE over characters, not bytes; llama.cpp can't run it")


def _types(step: Any) -> set[str]:
    """The step's type and those of the steps in it, if it is a sequence."""
    if not isinstance(step, dict):
        return set()
    inner = step.get("decoders") or step.get("pretokenizers") or []
    children = inner if isinstance(inner, list) else []
    return {str(child.get("type")) for child in (step, *children) if isinstance(child, dict)}
