"""`grammar_of`: a request's constraint, and a tool format's grammar, as one Lark grammar. Pure.

JSON's white space is one space, or a line's end and up to 40 blanks of indentation: what models and printers
write, and an end to the blanks of a model that has lost its way.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from server.ipc.constraint import MAX_CHARS, Constraint
from server.worker.constraints.gbnf_lark import gbnf_to_lark
from server.worker.constraints.lark_text import renamed, with_schemas
from server.worker.constraints.schema.limits import Place
from server.worker.constraints.schema.references import PLACE
from server.worker.constraints.schema.repetitions import check_repetitions
from server.worker.constraints.schema.rewrite import SchemaRewriter

CONTENT = "constrained_content"
"""The rule that a constraint's text follows: `GrammarJob.content` where a request has tools, too."""
JSON_OPTIONS = {
    "whitespace_pattern": r"( |\r?\n[ \t]{0,40})",
    "json_allowed_escapes": 'nrbtf\\"',
}
"""llguidance's options for JSON. With `\\u` a name that a schema knows could be spelled as if it didn't."""
MAX_CHOICES = 5_000
"""`choice` has at most so many texts."""


class GrammarRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a grammar. A constraint alone follows `before`; a format's `lark` has everything."""

    param: str
    lark: str | None = None
    constraint: Constraint | None = None
    before: str = ""
    """The Lark expression of what comes before the content: thoughts."""
    before_rules: tuple[str, ...] = ()
    relaxed: bool = False
    """Keywords of the schemas in `lark` that can't be held are left out instead of refused."""

    @property
    def field(self) -> str:
        """The name of the request's field that errors are about."""
        return self.param if self.constraint is None else self.constraint.param


class Grammar(msgspec.Struct, frozen=True):
    """A grammar for llguidance, and the places of the keywords that were left out."""

    text: str
    left_out: tuple[str, ...] = ()


def grammar_of(request: GrammarRequest, loose: frozenset[str] = frozenset()) -> Grammar:
    """Return the grammar; schemas of `lark` at `loose` places keep only their type. Raises RequestError."""
    left_out: list[str] = []
    parts = ["%llguidance {}"]
    constraint = request.constraint
    if request.lark is not None:
        place = Place(request.param)

        def rewrite(schema: Any) -> dict[str, Any]:
            rewriter = SchemaRewriter(schema, own_place(schema, place), relaxed=request.relaxed, loose=loose)
            document = rewriter.document()
            left_out.extend(rewriter.left_out)
            style = schema.get("x-guidance", {}) if isinstance(schema, dict) else {}  # the format's own
            options = {**JSON_OPTIONS, **style}
            if "whitespace_flexible" in style:
                options.pop("whitespace_pattern")
            return {"x-guidance": options, **document}

        parts = [with_schemas(request.lark, place, rewrite)]
    else:
        parts.append(f"start: {request.before} {CONTENT}")
        parts += request.before_rules
    if constraint is not None:
        parts.append(_content(constraint, alone=request.lark is None and not request.before))
    return Grammar("\n".join(parts), tuple(dict.fromkeys(left_out)))


def own_place(schema: Any, place: Place) -> Place:
    """Return where the client sent a schema of a format's grammar, if its `$id` says so, else `place`."""
    own = schema.get("$id") if isinstance(schema, dict) else None
    return Place(own.removeprefix(PLACE)) if isinstance(own, str) and own.startswith(PLACE) else place


def schema_rule(schema: dict[str, Any]) -> str:
    """Return the Lark expression of a rewritten schema."""
    return f"%json {json.dumps(_with_options(schema), ensure_ascii=False)}"


def _with_options(schema: dict[str, Any]) -> dict[str, Any]:
    return {"x-guidance": JSON_OPTIONS, **schema}


def _content(constraint: Constraint, *, alone: bool) -> str:
    """Return the rules of CONTENT."""
    place, text = Place(constraint.param), constraint.text
    if len(text) > MAX_CHARS:
        place.refuse(f"it has {len(text):,} characters; the limit is {MAX_CHARS:,}")
    match constraint.kind:
        case "json_object":
            return f"{CONTENT}: {schema_rule({'type': 'object'})}"
        case "json_schema":
            document = SchemaRewriter(_json(text, place), place).document()
            return f"{CONTENT}: {schema_rule(document)}"
        case "regex":
            return f"{CONTENT}: C_TEXT\nC_TEXT: /{_regex(text, place)}/"
        case "choice":
            return f"{CONTENT}: C_TEXT\nC_TEXT: {_choices(_json(text, place), place)}"
        case "lark":
            plain = renamed(text, CONTENT, place, alone=alone)
            return with_schemas(
                plain, place, lambda schema: _with_options(SchemaRewriter(schema, place).document())
            )
        case "gbnf":
            return gbnf_to_lark(text, CONTENT, place)


def _json(text: str, place: Place) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: a number of too many digits, too
        place.refuse(f"it isn't JSON ({str(error)[:80]})")


def _regex(text: str, place: Place) -> str:
    """Return the expression between Lark's slashes; it matches the whole text, so anchors say nothing."""
    from llguidance import regex_to_lark

    if not text:
        place.refuse("it is empty")
    check_repetitions(text, place)
    text = text.removeprefix("^")
    n_escapes = len(text[:-1]) - len(text[:-1].rstrip("\\"))
    if text.endswith("$") and n_escapes % 2 == 0:
        text = text[:-1]
    return str(regex_to_lark(f"(?:{text})".replace("\n", r"\n"), ""))


def _choices(choices: Any, place: Place) -> str:
    if (
        not isinstance(choices, list)
        or not choices
        or not all(isinstance(text, str) and text for text in choices)
    ):
        place.refuse("it must be a list of texts that aren't empty")
    if len(choices) > MAX_CHOICES:
        place.refuse(f"it has {len(choices):,} texts; the limit is {MAX_CHOICES:,}")
    return " | ".join(f"/{_literal(text)}/" for text in dict.fromkeys(choices))


def _literal(text: str) -> str:
    return "".join(
        letter if letter.isascii() and letter.isalnum() else f"\\x{{{ord(letter):x}}}" for letter in text
    )
