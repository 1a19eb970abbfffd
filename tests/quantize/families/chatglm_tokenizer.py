"""ChatGLM3's tokenizer: SentencePiece, and special tokens that only its Python code knows.

The code is written into the folder for the converter, which asks it for each token's text.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.pico import write_json

CODE = """
from sentencepiece import SentencePieceProcessor
from transformers import PythonBackend

SPECIAL = "[MASK] [gMASK] [sMASK] sop eop <|system|> <|user|> <|assistant|> <|observation|>".split()


class Model:
    def __init__(self, path):
        self.sp_model = SentencePieceProcessor(model_file=path)


class ChatGLMTokenizer(PythonBackend):
    vocab_files_names = {"vocab_file": "tokenizer.model"}

    def __init__(self, vocab_file, **fields):
        self.tokenizer = Model(vocab_file)
        super().__init__(**fields)

    @property
    def vocab_size(self):
        return self.tokenizer.sp_model.vocab_size() + len(SPECIAL)

    def get_vocab(self):
        return {self._convert_id_to_token(i): i for i in range(self.vocab_size)}

    def _convert_id_to_token(self, index):
        after = index - self.tokenizer.sp_model.vocab_size()
        if after >= 0:
            return SPECIAL[after] if after < len(SPECIAL) else ""
        return self.tokenizer.sp_model.IdToPiece(index)

    def _convert_token_to_id(self, token):
        return self.tokenizer.sp_model.PieceToId(token)

    def _tokenize(self, text, **options):
        return self.tokenizer.sp_model.EncodeAsPieces(text)
"""


def write_chatglm3_tokenizer(directory: Path) -> None:
    """Turn the folder's SentencePiece tokenizer into ChatGLM3's."""
    (directory / "added_tokens.json").unlink()
    (directory / "tokenization_chatglm.py").write_text(CODE, encoding="utf-8")
    old = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    config = {
        "tokenizer_class": "ChatGLMTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_chatglm.ChatGLMTokenizer", None]},
        "chat_template": old["chat_template"],
    }
    write_json(directory / "tokenizer_config.json", config)
