"""Lark grammars, token by token: a client's under names of its own, and the schemas in any. Pure.

A client's grammar says what the text is, not which tokens spell it: special tokens, options that reach the
engine (`max_tokens`, `temperature`, `stop`) and other grammars are refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from server.worker.constraints.lark_rules import read_rules
from server.worker.constraints.lark_tokens import Token, lark_tokens
from server.worker.constraints.rule_endings import check_rules, reachable, refuse_endless
from server.worker.constraints.schema.limits import Place
from server.worker.constraints.schema.repetitions import check_repetitions

_OPTIONS = frozenset({"max_tokens", "temperature", "stop"})
_DIRECTIVES = frozenset({"%json", "%regex", "%ignore", "%llguidance"})


def with_schemas(text: str, place: Place, rewrite: Callable[[Any], Any]) -> str:
    """Return a grammar whose `%json` schemas are what `rewrite` makes of them."""
    parts: list[str] = []
    directive = ""
    for token in lark_tokens(text, place):
        if token.kind == "json" and directive == "%json":
            parts.append(f" {json.dumps(rewrite(json.loads(token.text)), ensure_ascii=False)}")
        else:
            parts.append(f" {token.text}" if token.kind == "json" else token.text)
        directive = token.text if token.kind == "directive" else ""
    return "".join(parts)


def renamed(text: str, start: str, place: Place, *, alone: bool) -> str:
    """Return a client's rules under other names, the first of them `start`. Raises RequestError.

    `alone`: the whole answer follows them, so they may have `%ignore`.
    """
    tokens = list(lark_tokens(text, place))
    rest = "".join(token.text for token in tokens if token.kind in ("name", "other", "space"))
    check_repetitions(rest.replace("[", "").replace("]", ""), place)
    defined = _defined(tokens)
    if "start" not in defined:
        place.refuse("there is no rule 'start'")
    _check_endings(tokens, defined, place)
    parts: list[str] = []
    skips = False
    for index, token in enumerate(tokens):
        if token.kind == "regex":
            check_repetitions(token.text, place)
        if token.kind in ("special", "grammar"):
            problem = "special tokens" if token.kind == "special" else "other grammars"
            place.refuse(f"{problem} such as {token.text[:40]!r}; write what the text is")
        if token.kind == "directive":
            if token.text not in _DIRECTIVES or (token.text == "%ignore" and not alone):
                place.refuse(
                    f"'{token.text}' {'beside thoughts or tools' if token.text == '%ignore' else ''}"
                )
            skips = token.text == "%llguidance"
        if token.kind == "name" and token.text in _OPTIONS and _next(tokens, index) == "=":
            place.refuse(f"the option '{token.text}'; use the request's own fields")
        if token.kind == "comment" or (skips and token.kind in ("directive", "json")):
            continue
        parts.append(
            _new_name(token.text, start) if token.text in defined and token.kind == "name" else token.text
        )
    return "".join(parts)


def _defined(tokens: list[Token]) -> set[str]:
    """Return the names that a line begins with."""
    names: set[str] = set()
    at_line_start = True
    for token in tokens:
        if token.kind == "space":
            at_line_start = at_line_start or "\n" in token.text
        elif token.kind == "comment" or (at_line_start and token.text in "?!"):
            continue
        else:
            if at_line_start and token.kind == "name":
                names.add(token.text)
            at_line_start = False
    return names


def _check_endings(tokens: list[Token], defined: set[str], place: Place) -> None:
    """Raise RequestError naming a rule that a text can follow and never end."""
    rules = reachable(read_rules(tokens, defined), "start")
    lengths = check_rules(rules, "start", place)
    if (endless := next((name for name in rules if lengths[name] == math.inf), None)) is not None:
        refuse_endless(endless, place)


def _next(tokens: list[Token], index: int) -> str:
    return next((token.text for token in tokens[index + 1 :] if token.kind != "space"), "")


def _new_name(name: str, start: str) -> str:
    if name == "start":
        return start
    return f"C_{name}" if name.upper() == name else f"c_{name.lower()}{'' if name.islower() else 'x'}"
