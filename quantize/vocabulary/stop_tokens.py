"""The tokens that end an answer, from every file that names one, and the keys that say so.

They are what transformers stops at, and more: the ids of generation_config.json, or of config.json where it
names none; the tokenizer's eos; the chat template's end of turn. llama.cpp has keys for three of them (eos,
eot, eom) and knows some by their texts; where there are more, `tokenizer.ggml.eos_token_ids` lists them all
for Corral's server, and for others that read it. Without a key llama.cpp takes id 11 of a BPE vocabulary for
eos, mostly a comma.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from quantize.gguf.header import Metadata, ValueType, array, boolean, uint32
from quantize.vocabulary.files import TokenizerFiles
from quantize.vocabulary.special_tokens import ASSUMED
from quantize.vocabulary.vocabulary import TokenType, Vocabulary

NESTED: Final = ("decoder", "generator", "text_config", "llm_config", "language_config")
"""The sections of config.json that may hold the settings of the part that writes text."""

KNOWN_TEXTS: Final = frozenset(
    (
        *("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>"),
        *("<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "</s>", "<eos>", "[EOS]", "<|eom_id|>"),
        *("<EOT>", "_<EOT>", "[EOT]", "<end_of_utterance>", "<turn|>", "<|tool_response>", "[e~["),
        "<\uff5cend\u2581of\u2581sentence\uff5c>",
    )
)
"""The texts that llama.cpp takes for ends of an answer. Source: special_eog_ids in src/llama-vocab.cpp."""

TURN_ENDS: Final = frozenset(
    (
        *("imend", "eot", "eotid", "end", "endofturn", "endofturntoken", "turnend", "endturn"),
        *("endofutterance", "endofmessage", "messageend", "endofassistant", "assistantend"),
        *("endofsentence", "endoftext", "eos"),
    )
)
"""The letters of texts that end a turn of a chat."""

MESSAGE_ENDS: Final = frozenset(("eom", "eomid"))
"""The letters of texts that end a message after which the same turn goes on, once a tool has answered."""

SILENT_BYTE: Final = "\xff"
"""A byte that no UTF-8 text has."""

IDS_KEY: Final = "tokenizer.ggml.eos_token_ids"
EOS_KEY, EOT_KEY, EOM_KEY = (f"tokenizer.ggml.{role}_token_id" for role in ("eos", "eot", "eom"))


def with_stops(vocabulary: Vocabulary, files: TokenizerFiles) -> Vocabulary:
    """Return the vocabulary with the tokens that end an answer, eos first, and eos itself where it lacks."""
    n_tokens = len(vocabulary.tokens)
    named = named_ids(files.generation_config, n_tokens) or config_ids(files.config, n_tokens)
    ids = dict(vocabulary.special.ids)
    by_tokenizer = files.special_content("eos") in (vocabulary.table.ids if vocabulary.table else ())
    assumed = (None, *config_ids(files.config, n_tokens))
    if named and not by_tokenizer and ids.get("eos") not in named and ids.get("eos") in assumed:
        ids["eos"] = named[0]
    end = _template_end(vocabulary)
    stops = [ids[role] for role in ("eos", "eot", "eom") if role in ids]
    unknown = [i for i in end if vocabulary.tokens[i].text not in KNOWN_TEXTS]
    stops = list(dict.fromkeys([*stops, *named, *unknown]))
    special = dataclasses.replace(vocabulary.special, ids=ids)
    return dataclasses.replace(vocabulary, special=special, stops=stops, turn_ends=end)


def named_ids(settings: Mapping[str, Any], n_tokens: int) -> list[int]:
    """Return `eos_token_id`, one number or a list, as far as they are ids of the vocabulary."""
    value = settings.get("eos_token_id")
    entries = value if isinstance(value, list) else [value]
    return list(dict.fromkeys(i for i in entries if type(i) is int and 0 <= i < n_tokens))


def config_ids(config: Mapping[str, Any], n_tokens: int) -> list[int]:
    """Return those of config.json: its own, else those of the part that writes text."""
    sections = [config, *(section for name in NESTED if isinstance(section := config.get(name), dict))]
    return next((ids for section in sections if (ids := named_ids(section, n_tokens))), [])


def stop_metadata(metadata: Metadata, vocabulary: Vocabulary) -> Metadata:
    """Return the keys that are still missing from a file's `metadata`, families' own keys among it."""
    if "tokenizer.ggml.tokens" not in metadata or not vocabulary.tokens:
        return {}
    keys: Metadata = {}
    set_ids = {key: int(metadata[key].data) for key in (EOS_KEY, EOT_KEY, EOM_KEY) if key in metadata}
    stops = list(dict.fromkeys([*set_ids.values(), *vocabulary.stops]))
    if EOS_KEY not in set_ids:
        eos = stops[0] if stops else _silent_eos(vocabulary)
        if eos is not None:
            keys[EOS_KEY] = uint32(eos)
            set_ids[EOS_KEY] = eos
    rest = [i for i in stops if i not in set_ids.values()]
    slots = _slots(vocabulary, rest, [key for key in (EOT_KEY, EOM_KEY) if key not in set_ids])
    keys |= {key: uint32(token_id) for key, token_id in slots}
    if len(rest) > len(slots):
        keys[IDS_KEY] = array(ValueType.INT32, stops)
    return keys | _adds(metadata, bool(stops), vocabulary.model)


def _slots(vocabulary: Vocabulary, rest: Sequence[int], free: list[str]) -> list[tuple[str, int]]:
    """Return eot and eom, as far as they are free: the template's end of turn, then the others in order."""
    wanted = list(rest)
    chosen: list[tuple[str, int]] = []
    for key, ids in (
        (EOM_KEY, [i for i in rest if _letters(vocabulary.tokens[i].text) in MESSAGE_ENDS]),
        (EOT_KEY, vocabulary.turn_ends),
        (EOM_KEY, rest),
        (EOT_KEY, rest),
    ):
        token_id = next((i for i in ids if i in wanted), None)
        if key in free and token_id is not None:
            chosen.append((key, token_id))
            free.remove(key)
            wanted.remove(token_id)
    return chosen


def _template_end(vocabulary: Vocabulary) -> list[int]:
    """Return the tokens that end a turn or a message in the chat template.

    `<|end|>` isn't one in Harmony's templates: there it ends a part of an answer.
    """
    template = vocabulary.chat_template or ""
    ids = vocabulary.table.ids if vocabulary.table else {}
    found = [
        i
        for i, token in enumerate(vocabulary.tokens)
        if token.type in (TokenType.CONTROL, TokenType.USER_DEFINED) and _ends_turn(token.text)
        if token.text in template
    ]
    if {"<|return|>", "<|call|>"} <= ids.keys() or {"<|calls|>", "<|flush|>"} <= ids.keys():
        found = [i for i in found if vocabulary.tokens[i].text != "<|end|>"]
    return sorted(found, key=lambda i: _letters(vocabulary.tokens[i].text) in MESSAGE_ENDS)


def _ends_turn(text: str) -> bool:
    return text == "<turn|>" or _letters(text) in TURN_ENDS | MESSAGE_ENDS


def _letters(text: str) -> str:
    """Return the letters of a token that stands in brackets of some kind; else nothing."""
    if not text or text[0].isalnum() or text[-1].isalnum():
        return ""
    return re.sub(r"[^a-z]", "", text.lower())


def _silent_eos(vocabulary: Vocabulary) -> int | None:
    """Return an eos for a model that names none: a token that no answer has, so that none is cut short.

    None where llama.cpp's own assumption is a control token, or where it makes none.
    """
    tokens, assumed = vocabulary.tokens, ASSUMED[vocabulary.model].get("eos")
    if assumed is None or assumed >= len(tokens) or tokens[assumed].type is TokenType.CONTROL:
        return None
    for role in ("pad", "bos", "sep", "cls"):
        if role in vocabulary.special.ids:
            return vocabulary.special.ids[role]
    types = [token.type for token in tokens]
    for wanted in (TokenType.UNUSED, TokenType.CONTROL):
        if wanted in types:
            return types.index(wanted)
    texts = (SILENT_BYTE, f"<0x{ord(SILENT_BYTE):02X}>")
    return next((i for i, token in enumerate(tokens) if token.text in texts), None)


def _adds(metadata: Metadata, has_eos: bool, model: str) -> Metadata:
    """Return what keeps llama.cpp from adding a token that only it assumes: id 11 of a BPE vocabulary."""
    if model not in ("gpt2", "whitespace"):
        return {}
    wrong = []
    for role, known in (("bos", "tokenizer.ggml.bos_token_id" in metadata), ("eos", has_eos)):
        key = f"tokenizer.ggml.add_{role}_token"
        if not known and key in metadata and metadata[key].data:
            wrong.append(key)
    return {key: boolean(False) for key in wrong}
