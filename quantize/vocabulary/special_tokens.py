"""The special tokens (bos, eos, pad …) and those that the tokenizer adds, as in llama.cpp's converter.

Sources in order of weight: tokenizer.json's post-processor (the tokens that are really added),
tokenizer_config.json and special_tokens_map.json (names, and add_*_token), config.json (ids). A name counts
if the vocabulary has the text. (For the converter it counts only if tokenizer.json lists it among its added
tokens, and not at all without a tokenizer_config.json.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from quantize.vocabulary.files import ROLES, TokenizerFiles
from quantize.vocabulary.token_table import TokenTable
from quantize.vocabulary.vocabulary import SpecialTokens

ASSUMED: Final[Mapping[str, Mapping[str, int]]] = {
    "llama": {"bos": 1, "eos": 2, "unk": 0},
    "gemma4": {},
    "t5": {"eos": 1, "unk": 2, "pad": 0},
    "bert": {"bos": 101, "unk": 100, "sep": 102, "pad": 0, "mask": 103},
    "gpt2": {"bos": 11, "eos": 11},
    "whitespace": {"bos": 11, "eos": 11},
}
"""The ids that llama.cpp assumes where a file doesn't say, by the kind of vocabulary."""


def special_tokens(
    files: TokenizerFiles, table: TokenTable, n_vocab: int | None = None, model: str = "gpt2"
) -> SpecialTokens:
    """Return the special tokens of a checkpoint; ids from `n_vocab` on are left out where it is given.

    What the converter leaves out and llama.cpp assumes rightly for `model`, the kind of vocabulary, stays
    out, but for eos.
    """
    search = _Search(files)
    if files.tokenizer is not None:
        search.read_post_processor(files.tokenizer.get("post_processor"))
    ids: dict[str, int] = {}
    if files.tokenizer_config is not None:
        for role in search.contents:
            flag = files.tokenizer_config.get(f"add_{role}_token")
            if isinstance(flag, bool):
                search.add.setdefault(role, flag)
    listed = {token.content for token in files.added_in_tokenizer()}
    for role, content in search.contents.items():
        found = None if content is None else table.ids.get(content)
        if found is not None and (content in listed or role == "eos" or found != ASSUMED[model].get(role)):
            ids[role] = found
    nested = files.config.get("text_config")  # of models that see, too
    for role in search.contents:
        token_id = files.config.get(f"{role}_token_id")
        if token_id is None and isinstance(nested, dict):
            token_id = nested.get(f"{role}_token_id")
        if type(token_id) is int and token_id >= 0:
            ids.setdefault(role, token_id)
    if n_vocab is not None:
        ids = {role: token_id for role, token_id in ids.items() if token_id < n_vocab}
    return SpecialTokens(ids, search.add)


def filled(special: SpecialTokens, own: Mapping[str, int], model: str) -> SpecialTokens:
    """Return special tokens with `own`, the vocabulary's, where no other file names one.

    What llama.cpp assumes rightly for `model` stays out, but for eos.
    """
    assumed = ASSUMED[model]
    ids = {role: i for role, i in own.items() if role == "eos" or assumed.get(role) != i}
    return dataclasses.replace(special, ids={**special.ids, **ids, **special.ids})


class _Search:
    """The roles and their texts, corrected by the tokens that the post-processor adds."""

    def __init__(self, files: TokenizerFiles) -> None:
        self.has_config = files.tokenizer_config is not None
        self.contents: dict[str, str | None] = {role: files.special_content(role) for role in ROLES}
        self.add: dict[str, bool] = {}
        if files.tokenizer is not None:
            # Encoders name cls and sep only; they are what others call bos and eos.
            self.contents["bos"] = self.contents["bos"] or self.contents["cls"]
            self.contents["eos"] = self.contents["eos"] or self.contents["sep"]

    def read_post_processor(self, processor: Any) -> None:
        if not isinstance(processor, dict):
            return
        steps = processor.get("processors", [processor])
        for step in steps if isinstance(steps, list) else []:
            if not isinstance(step, dict):
                continue
            match step.get("type"):
                case "ByteLevel":
                    self.add.setdefault("bos", False)
                    self.add.setdefault("eos", False)
                case "RobertaProcessing":
                    self._read_roberta(step)
                case "TemplateProcessing":
                    self._read_template(step)

    def _read_roberta(self, step: Mapping[str, Any]) -> None:
        self.add |= {"bos": True, "eos": True, "sep": True}
        for role, like in (("cls", "bos"), ("sep", "eos")):
            pair = step.get(role)
            if not self.contents[role]:
                self.contents[role] = pair[0] if isinstance(pair, list) and pair else self.contents[like]

    def _read_template(self, step: Mapping[str, Any]) -> None:
        single, pair = _template(step.get("single")), _template(step.get("pair"))
        first = last = None
        if len(single) > 1:
            first, last = _special(single[0]), _special(single[-1])
        if first:
            self._set_first(first)
        if last:
            self._set_last(last)
        if pair:
            self._read_pair(pair, first, last)

    def _set_first(self, first: str) -> None:
        if not self.has_config:
            self.contents["bos"] = first
        elif first not in (self.contents["bos"], self.contents["cls"]):
            self.contents["bos"] = self.contents["bos"] or first
            self.contents["cls"] = self.contents["cls"] or first
        self.add["bos"] = first in (self.contents["bos"], self.contents["cls"])

    def _set_last(self, last: str) -> None:
        """Take the template's last token for eos; the one named so ends a turn (eot), or a message (eom)."""
        if self.has_config and last != self.contents["eos"]:
            for role in ("eot", "eom"):
                if role not in self.contents:
                    self.contents[role] = self.contents["eos"]
                    break
        self.contents["eos"] = last
        self.add["eos"] = True

    def _read_pair(self, pair: list[Any], first: str | None, last: str | None) -> None:
        """Find out if there is a separator between two sequences: `[bos] A [eos] [sep] B [eos]`."""
        begin = 1 if first and _special(pair[0]) == first else 0
        end = len(pair) - 1 if last and _special(pair[-1]) == last else len(pair)
        inner = pair[begin:end]
        if len(inner) < 3 or _sequence(inner[0]) != "A" or _sequence(inner[-1]) != "B":
            return
        between = [_special(item) for item in inner[1:-1]]
        separators = (self.contents["sep"], self.contents["eos"])
        separated = between[0] is not None and between[0] in separators and not last
        separated = separated or (len(between) == 2 and between[1] is not None and between[1] in separators)
        self.add["sep"] = separated
        if separated and self.has_config and not self.contents["sep"]:
            self.contents["sep"] = self.contents["eos"]


def _template(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _special(item: Any) -> str | None:
    return _id_under(item, "SpecialToken")


def _sequence(item: Any) -> str | None:
    return _id_under(item, "Sequence")


def _id_under(item: Any, kind: str) -> str | None:
    inner = item.get(kind) if isinstance(item, dict) else None
    name = inner.get("id") if isinstance(inner, dict) else None
    return name if isinstance(name, str) else None
