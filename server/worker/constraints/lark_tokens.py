"""`lark_tokens`: the tokens of a Lark grammar. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from server.worker.constraints.schema.limits import Place

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<comment>//[^\n]*|\#[^\n]*)
    |(?P<text>"(?:[^"\\\n]|\\.)*"i?)
    |(?P<regex>/(?:[^/\\\n]|\\.)+/[a-z]*)
    |(?P<directive>%[a-z_]+)
    |(?P<special><[^<>\n]*>)
    |(?P<grammar>@[\w-]*)
    |(?P<name>[A-Za-z_][\w-]*)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)


class Token(NamedTuple):
    """A piece of a grammar; white space and comments are pieces, too."""

    kind: str
    text: str


def lark_tokens(text: str, place: Place) -> Iterator[Token]:
    """Yield the tokens of a grammar; the JSON after a directive is one of kind `json`."""
    at, decoder = 0, json.JSONDecoder()
    while at < len(text):
        found = _TOKEN.match(text, at)
        assert found is not None
        kind, at = str(found.lastgroup), found.end()
        yield Token(kind, found[0])
        if kind == "directive" and found[0] in ("%json", "%regex", "%llguidance"):
            begin = at + len(text[at:]) - len(text[at:].lstrip())
            try:
                _, at = decoder.raw_decode(text, begin)
            except (json.JSONDecodeError, RecursionError) as error:
                place.refuse(f"{found[0]} isn't followed by JSON ({str(error)[:60]})")
            yield Token("json", text[begin:at])
