"""Tokens that a file can't have: those that the embedding has no row for, and texts under two ids.

llama.cpp ends the process over a text that stands twice, and has no tokens beyond its embedding.
"""

from __future__ import annotations

import dataclasses

from models.errors import UnknownTokenizer
from quantize.vocabulary.files import TokenizerFiles
from quantize.vocabulary.stop_tokens import config_ids, named_ids
from quantize.vocabulary.token_table import padding_text
from quantize.vocabulary.vocabulary import Token, TokenType, Vocabulary

SHOWN = 4
"""At most this many tokens are named in a remark."""


def without_unembedded(vocabulary: Vocabulary, files: TokenizerFiles) -> Vocabulary:
    """Return the vocabulary with a remark about added tokens beyond the embedding, which it doesn't have.

    As in transformers such a model loads, and the tokens are of no use. Raises UnknownTokenizer: the chat
    template writes one, or the only eos is one.
    """
    beyond = vocabulary.table.beyond if vocabulary.table else {}
    if not beyond:
        return vocabulary
    n_tokens = len(vocabulary.tokens)
    others = named_ids(files.generation_config, n_tokens) or config_ids(files.config, n_tokens)
    for token_id, token in beyond.items():
        use = None
        if token.content in (vocabulary.chat_template or ""):
            use = "the chat template writes it"
        elif token.content == files.special_content("eos") and not others:
            use = "it is the only eos_token"
        if use:
            raise UnknownTokenizer(
                f"the added token {token.content!r} has the id {token_id}, the embedding has {n_tokens} "
                f"rows, and {use}; resize the model's embedding, or take the token out of the tokenizer"
            )
    places = [f"{token.content!r} ({token_id})" for token_id, token in beyond.items()]
    remark = (
        f"the embedding has {n_tokens} rows: added tokens with ids from there on are left out: "
        f"{_some(places)}"
    )
    return dataclasses.replace(vocabulary, remarks=[*vocabulary.remarks, remark])


def with_distinct_texts(vocabulary: Vocabulary) -> Vocabulary:
    """Return the vocabulary without texts under two ids: the last one has it, as in transformers.

    The other is padding. Each text with another id than a file says is remarked.
    """
    tokens = list(vocabulary.tokens)
    places: dict[str, int] = {}
    cut: list[str] = []
    declared = vocabulary.table.declared if vocabulary.table else {}
    ids = vocabulary.table.ids if vocabulary.table else {}
    twice = [f"{text!r} ({ids.get(text, 'none')}, not {other})" for text, other in declared.items()]
    for i, token in enumerate(tokens):
        if not token.text:
            continue  # llama.cpp names it by its id
        if "\0" in token.text:  # it would end there, and might be another token
            cut.append(f"{token.text!r} ({i})")
            tokens[i] = Token("", TokenType.UNUSED, token.score)
            continue
        if token.text in places:
            before = places[token.text]
            twice.append(f"{token.text!r} ({i}, not {before})")
            tokens[before] = Token("", TokenType.UNUSED, token.score)
        places[token.text] = i
    if not twice and not cut:
        return vocabulary
    for i, token in enumerate(tokens):
        if not token.text and vocabulary.tokens[i].text:
            tokens[i] = dataclasses.replace(token, text=padding_text(i, places))
    remarks = list(vocabulary.remarks)
    if twice:
        remarks.append(f"a text has one id, which is transformers': {_some(twice)}")
    if cut:
        remarks.append(f"llama.cpp has no tokens with a zero byte, which are left out: {_some(cut)}")
    return dataclasses.replace(vocabulary, tokens=tokens, remarks=remarks)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return " ".join(names[:SHOWN]) + more
