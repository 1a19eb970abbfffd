"""The tokenizer files of a checkpoint, each read once, and their added tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import UnknownTokenizer
from quantize.checkpoint.json_file import optional_json_object


@dataclass(frozen=True)
class AddedToken:
    """A token that was added to the model's vocabulary. A `special` one isn't made from text, nor printed."""

    id: int
    content: str
    special: bool


@dataclass(frozen=True)
class TokenizerFiles:
    """The files: `tokenizer` is tokenizer.json, `tokenizer_config` tokenizer_config.json, None if missing."""

    directory: Path
    config: Mapping[str, Any]
    tokenizer: dict[str, Any] | None
    tokenizer_config: dict[str, Any] | None

    @classmethod
    def read(cls, directory: Path, config: Mapping[str, Any]) -> TokenizerFiles:
        """Read the files. Raises CheckpointError: one that isn't a JSON object."""
        return cls(
            directory,
            config,
            optional_json_object(directory / "tokenizer.json"),
            optional_json_object(directory / "tokenizer_config.json"),
        )

    def added_in_tokenizer(self) -> list[AddedToken]:
        """Return `added_tokens` of tokenizer.json. Raises UnknownTokenizer when it is malformed."""
        entries = (self.tokenizer or {}).get("added_tokens") or []
        if not isinstance(entries, list):
            raise UnknownTokenizer("added_tokens of tokenizer.json isn't a list; download it again")
        return [
            _added_token(entry, entry.get("id") if isinstance(entry, dict) else None) for entry in entries
        ]

    def added_in_config(self) -> list[AddedToken]:
        """Return `added_tokens_decoder` of tokenizer_config.json. Raises UnknownTokenizer: malformed."""
        entries = (self.tokenizer_config or {}).get("added_tokens_decoder") or {}
        if not isinstance(entries, dict):
            raise UnknownTokenizer(
                "added_tokens_decoder of tokenizer_config.json isn't an object; download it again"
            )
        return [_added_token(entry, int(key) if key.isdecimal() else None) for key, entry in entries.items()]

    def special_content(self, role: str) -> str | None:
        """Return the text of tokenizer_config.json's `bos_token` or its like: a string, or in an object."""
        value = (self.tokenizer_config or {}).get(f"{role}_token")
        if isinstance(value, dict):
            value = value.get("content")
        return value if isinstance(value, str) else None


def _added_token(entry: Any, token_id: Any) -> AddedToken:
    if not isinstance(entry, dict) or type(token_id) is not int or not 0 <= token_id < 2**31:
        raise UnknownTokenizer(
            f"the added token {str(entry)[:80]} has no usable id; download the tokenizer again"
        )
    content = entry.get("content")
    if not isinstance(content, str):
        raise UnknownTokenizer(f"the added token {token_id} has no content; download the tokenizer again")
    return AddedToken(token_id, content, entry.get("special") is True)


def looks_special(text: str) -> bool:
    """True for texts of control tokens that files don't mark so: the list of llama.cpp's converter."""
    return (
        text in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
        or (text.startswith("<|") and text.endswith("|>"))
        or (text.startswith("<\uff5c") and text.endswith("\uff5c>"))
        or (text.startswith("<unused") and text.endswith(">"))
    )
