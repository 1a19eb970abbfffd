"""The tokenizer files of a checkpoint, each read once, and the tokens that they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from models.errors import CheckpointError, UnknownTokenizer
from quantize.checkpoint.json_file import optional_json_object

DECODER: Final = "added_tokens_decoder"
"""The field of tokenizer_config.json with added tokens. Where it is, the older files don't count."""

ROLES: Final = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


@dataclass(frozen=True)
class AddedToken:
    """A token that was added to the model's vocabulary. A `special` one isn't made from text, nor printed.

    Its `id` is None where a file only names it.
    """

    id: int | None
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

    @cached_property
    def older_names(self) -> Mapping[str, Any]:
        """The fields of special_tokens_map.json.

        Where tokenizer_config.json makes the file needless, a broken one has none. Raises CheckpointError.
        """
        try:
            return optional_json_object(self.directory / "special_tokens_map.json") or {}
        except CheckpointError:
            if DECODER in (self.tokenizer_config or {}):
                return {}
            raise

    @cached_property
    def generation_config(self) -> Mapping[str, Any]:
        """The fields of generation_config.json; none of a broken one, which costs no more than them."""
        try:
            return optional_json_object(self.directory / "generation_config.json") or {}
        except CheckpointError:
            return {}

    def added_in_tokenizer(self) -> list[AddedToken]:
        """Return `added_tokens` of tokenizer.json. Raises UnknownTokenizer when it is malformed."""
        entries = (self.tokenizer or {}).get("added_tokens") or []
        if not isinstance(entries, list):
            raise UnknownTokenizer("added_tokens of tokenizer.json isn't a list; download it again")
        return [
            _added_token(entry, entry.get("id") if isinstance(entry, dict) else None) for entry in entries
        ]

    def added_elsewhere(self) -> list[AddedToken]:
        """Return what the other files add, by id: tokenizer_config.json, or without its field the older file.

        Raises UnknownTokenizer: malformed.
        """
        named = DECODER in (self.tokenizer_config or {})
        tokens = self.added_in_config() if named else self._added_in_older_file()
        return sorted(tokens, key=lambda token: token.id or 0)

    def added_in_config(self) -> list[AddedToken]:
        """Return `added_tokens_decoder` of tokenizer_config.json. Raises UnknownTokenizer: malformed."""
        entries = (self.tokenizer_config or {}).get(DECODER) or {}
        if not isinstance(entries, dict):
            raise UnknownTokenizer(
                "added_tokens_decoder of tokenizer_config.json isn't an object; download it again"
            )
        return [_added_token(entry, int(key) if key.isdecimal() else None) for key, entry in entries.items()]

    def _added_in_older_file(self) -> list[AddedToken]:
        """Return the tokens of added_tokens.json, special where another file names them so."""
        special = self.special_texts
        tokens = []
        for text, token_id in (optional_json_object(self.directory / "added_tokens.json") or {}).items():
            if type(token_id) is not int or not 0 <= token_id < 2**31:
                raise UnknownTokenizer(
                    f"added_tokens.json gives {text!r} the id {token_id!r}; download it again"
                )
            tokens.append(AddedToken(token_id, text, text in special))
        return tokens

    def special_content(self, role: str) -> str | None:
        """Return the text of `bos_token` or its like: a string, or in an object."""
        return self._named.get(f"{role}_token")

    @cached_property
    def special_texts(self) -> tuple[str, ...]:
        """The texts that files name as special tokens, by a role or in a list, each once."""
        return tuple(dict.fromkeys([*self._named.values(), *self._extra()]))

    @cached_property
    def _named(self) -> Mapping[str, str]:
        """Texts by fields such as `bos_token`.

        As in transformers, special_tokens_map.json comes first where tokenizer_config.json has no added
        tokens; else it only fills gaps. A null hides nothing.
        """
        fields: dict[str, str] = {}
        for source in reversed(self._by_weight):
            texts = {key: _text(value) for key, value in source.items() if key.endswith("_token")}
            fields |= {key: text for key, text in texts.items() if text}
        for source in self._by_weight:
            extra = source.get("extra_special_tokens")
            texts = {key: _text(value) for key, value in extra.items()} if isinstance(extra, dict) else {}
            fields |= {key: text for key, text in texts.items() if text}
        return fields

    @property
    def _by_weight(self) -> tuple[Mapping[str, Any], ...]:
        settings = self.tokenizer_config or {}
        return (settings, self.older_names) if DECODER in settings else (self.older_names, settings)

    def _extra(self) -> Iterator[str]:
        """Yield the texts of `extra_special_tokens`, or where there are none of its older name."""
        for source in self._by_weight:
            listed = source.get("extra_special_tokens") or source.get("additional_special_tokens")
            for entry in listed if isinstance(listed, list) else []:
                if text := _text(entry):
                    yield text


def _text(value: Any) -> str | None:
    """Return a token's text, given as such or in an object."""
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
