"""From a checkpoint's tokenizer files to its vocabulary: which kind it is, and all its parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import UnknownTokenizer
from quantize.vocabulary.byte_fallback import byte_fallback_tokens, is_byte_fallback
from quantize.vocabulary.byte_level import byte_level_tokens, read_merges
from quantize.vocabulary.chat_template import chat_templates
from quantize.vocabulary.files import TokenizerFiles
from quantize.vocabulary.pre_tokenizers import pre_tokenizer_name
from quantize.vocabulary.sentencepiece import FILE_NAME, sentencepiece_tokens
from quantize.vocabulary.special_tokens import special_tokens
from quantize.vocabulary.vocabulary import Vocabulary


def read_vocabulary(directory: Path, config: Mapping[str, Any], n_vocab: int | None) -> Vocabulary:
    """The vocabulary of the checkpoint in `directory`, padded to `n_vocab`, the rows of its embedding.

    Raises UnknownTokenizer: none there, or one that GGUF can't express; CheckpointError: damaged files.
    """
    return vocabulary_of(TokenizerFiles.read(directory, config), n_vocab)


def vocabulary_of(files: TokenizerFiles, n_vocab: int | None) -> Vocabulary:
    """As `read_vocabulary`, from files already read."""
    template, named = chat_templates(files)
    config = files.tokenizer_config or {}
    if (files.directory / FILE_NAME).is_file() and not _is_tiktoken(files):
        tokens = sentencepiece_tokens(files, n_vocab)
        special = special_tokens(files, len(tokens))
        return Vocabulary("llama", "default", tokens, (), special, template, named, config)
    if files.tokenizer is None:
        raise UnknownTokenizer(
            f"{files.directory} has neither tokenizer.model nor tokenizer.json; add the tokenizer"
        )
    if is_byte_fallback(files.tokenizer):
        tokens = byte_fallback_tokens(files, n_vocab)
        special = special_tokens(files, len(tokens))
        return Vocabulary("llama", "default", tokens, (), special, template, named, config)
    _require_byte_level(files.tokenizer)
    tokens = byte_level_tokens(files, n_vocab)
    pre = pre_tokenizer_name(files.tokenizer)
    return Vocabulary("gpt2", pre, tokens, read_merges(files), special_tokens(files), template, named, config)


def _is_tiktoken(files: TokenizerFiles) -> bool:
    """Llama 3's tokenizer.model is a list of base64 lines; its tokenizer.json says the same."""
    if files.tokenizer is None:
        return False
    with (files.directory / FILE_NAME).open("rb") as file:
        return file.read(5) == b"IQ== "


def _require_byte_level(tokenizer: Mapping[str, Any]) -> None:
    model = tokenizer.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if kind not in ("BPE", None) or not isinstance(model, dict):
        raise UnknownTokenizer(
            f"tokenizer.json is of the kind {kind}; known are BPE, and SentencePiece's BPE"
        )
    if "ByteLevel" not in _types(tokenizer.get("decoder")) | _types(tokenizer.get("pre_tokenizer")):
        raise UnknownTokenizer("tokenizer.json is a BPE over characters, not bytes; llama.cpp can't run it")


def _types(step: Any) -> set[str]:
    """The step's type and those of the steps in it, if it is a sequence."""
    if not isinstance(step, dict):
        return set()
    inner = step.get("decoders") or step.get("pretokenizers") or []
    children = inner if isinstance(inner, list) else []
    return {str(child.get("type")) for child in (step, *children) if isinstance(child, dict)}
