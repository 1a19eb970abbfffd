"""Tokenizer files put together from the vocabularies in llama.cpp's source tree, and its texts.

`real_tokenizers` makes byte-level ones; here are WordPiece, SentencePiece's BPE and its unigram model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import TokenType

from quantize.gguf.header import Value, ValueType, encode_header, string
from quantize.vocabulary.vocabulary import Vocabulary
from tests.gguf_reader import QuickReader
from tests.pico import write_json
from tests.pico_encoder_tokenizers import added_token, wordpiece_json
from tests.pico_tokenizer import spm_piece, spm_settings

SPACE = "\u2581"
SEPARATOR = "\n__ggml_vocab_test__\n"
KINDS = {1: 1, 2: 2, 3: 3, 4: 1, 5: 5, 6: 6}  # GGUF's token types → SentencePiece's


@dataclass(frozen=True)
class SdistVocabulary:
    """The vocabulary of `models/ggml-vocab-<name>.gguf` and, where there are, the texts next to it."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "_fields", QuickReader(self.path).fields)

    def value(self, key: str) -> Any:
        fields: Mapping[str, Any] = self._fields  # type: ignore[attr-defined]
        found = fields.get(f"tokenizer.ggml.{key}")
        return None if found is None else found.contents()

    @property
    def tokens(self) -> list[tuple[str, float, int]]:
        """The text, score and type of each token."""
        texts, types = self.value("tokens"), self.value("token_type")
        return list(zip(texts, self.value("scores") or [0.0] * len(texts), types, strict=True))

    def cases(self) -> list[tuple[str, list[int]]]:
        """Return the texts of `.inp`, and their tokens by the model's own tokenizer, of `.out`."""
        texts = Path(f"{self.path}.inp").read_text(encoding="utf-8").split(SEPARATOR)
        lines = Path(f"{self.path}.out").read_text(encoding="utf-8").split("\n")
        return [(text, [int(n) for n in line.split()]) for text, line in zip(texts, lines, strict=False)]

    def write_gguf(self, vocabulary: Vocabulary, path: Path) -> Path:
        """Write a file without tensors, which llama.cpp can load as a vocabulary."""
        fields: Mapping[str, Any] = self._fields  # type: ignore[attr-defined]
        keys = {
            name: Value(ValueType(int(field.types[0])), field.contents())
            for name, field in fields.items()
            if not name.startswith(("tokenizer.", "GGUF.")) and len(field.types) == 1
        }
        path.write_bytes(
            encode_header({**keys, "general.type": string("model"), **vocabulary.metadata()}, [])
        )
        return path


def write_wordpiece(source: SdistVocabulary, directory: Path) -> None:
    """Write a tokenizer.json of BERT's kind: the rest of a word is marked by `##`, its beginning isn't."""
    tokenizer = wordpiece_json()
    texts: dict[str, int] = {}
    for i, (text, _, kind) in enumerate(source.tokens):
        special = kind == TokenType.CONTROL
        texts[text if special else text[1:] if text.startswith(SPACE) else f"##{text}"] = i
    tokenizer["model"]["vocab"] = texts
    names = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    tokenizer["added_tokens"] = [added_token(texts[text], text) for text in names]
    write_json(directory / "tokenizer.json", tokenizer)
    roles = {f"{name[1:-1].lower()}_token": name for name in names}
    write_json(directory / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", **roles})


def write_sentencepiece(source: SdistVocabulary, directory: Path) -> None:
    """Write a tokenizer.model; user-defined tokens of llama.cpp's file go to tokenizer_config.json."""
    pieces = b"".join(spm_piece(text, score, KINDS[kind]) for text, score, kind in source.tokens)
    (directory / "tokenizer.model").write_bytes(pieces + spm_settings(model_type=2))
    added = {
        str(i): {"content": text, "special": False}
        for i, (text, _, kind) in enumerate(source.tokens)
        if kind == TokenType.USER_DEFINED
    }
    write_json(directory / "tokenizer_config.json", {"added_tokens_decoder": added})


def write_xlm_unigram(source: SdistVocabulary, directory: Path) -> None:
    """Write a sentencepiece.bpe.model: three tokens of its own, then the pieces, one id before ours."""
    head = spm_piece("<unk>", 0.0, 2) + spm_piece("<s>", 0.0, 3) + spm_piece("</s>", 0.0, 3)
    pieces = (spm_piece(text, score, KINDS[kind]) for text, score, kind in source.tokens[4:-1])
    charsmap = bytes(n & 0xFF for n in source.value("precompiled_charsmap"))
    settings = spm_settings(model_type=1, charsmap=charsmap)
    (directory / "sentencepiece.bpe.model").write_bytes(head + b"".join(pieces) + settings)
    write_json(directory / "tokenizer_config.json", {"tokenizer_class": "XLMRobertaTokenizer"})
