"""ChatGLM3's vocabulary: SentencePiece's pieces, then special tokens that only its makers' code knows."""

from __future__ import annotations

from typing import Final

from models.errors import UnknownTokenizer
from quantize.checkpoint.json_file import read_bounded
from quantize.vocabulary.files import TokenizerFiles
from quantize.vocabulary.sentencepiece import FILE_NAME, parse_pieces
from quantize.vocabulary.special_tokens import special_tokens
from quantize.vocabulary.vocabulary import Token, TokenType, Vocabulary

MODEL_TYPE: Final = "chatglm"
FIRST: Final = ("<unk>", "<bos>", "<eos>")  # what its code calls the first three pieces
# https://huggingface.co/THUDM/chatglm3-6b/blob/main/tokenization_chatglm.py
BEHIND: Final = (
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "sop",
    "eop",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
)


def chatglm3_vocabulary(files: TokenizerFiles, n_vocab: int | None) -> Vocabulary:
    """Pieces, special tokens, `[PAD…]` up to `n_vocab`. Raises UnknownTokenizer: more than that."""
    pieces = parse_pieces(read_bounded(files.directory / FILE_NAME))
    texts = [*FIRST, *(piece.text for piece in pieces[len(FIRST) :])]
    tokens = [Token(text, piece.type, piece.score) for text, piece in zip(texts, pieces, strict=False)]
    tokens += [Token(text, TokenType.CONTROL) for text in BEHIND]
    size = len(tokens) if n_vocab is None else n_vocab
    if len(tokens) > size:
        raise UnknownTokenizer(
            f"{FILE_NAME} and the special tokens of ChatGLM3 are {len(tokens)} tokens, the embedding has "
            f"{size}; the two don't belong together: download the checkpoint again"
        )
    tokens += [Token(f"[PAD{i}]", TokenType.UNUSED) for i in range(len(tokens), size)]
    return Vocabulary("llama", "chatglm-spm", tokens, special=special_tokens(files, size))
