"""`checked_grammar`: a grammar that llguidance takes, or the refusal with keyword and path. Pure.

It may take any time and memory: `GrammarProcess` runs it in a process of its own.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

from models.errors import RequestError
from server.worker.constraints.explanations import explained
from server.worker.constraints.grammar_text import (
    Grammar,
    GrammarRequest,
    grammar_of,
    own_place,
    schema_rule,
)
from server.worker.constraints.lark_text import with_schemas
from server.worker.constraints.schema.limits import Place
from server.worker.constraints.schema.references import Node
from server.worker.constraints.schema.rewrite import SchemaRewriter

_SEARCH_S = 0.5
"""The path of what llguidance refuses is looked for so long."""
_MAX_LEFT_OUT = 20

_VALUES = ("const", "enum", "not", "oneOf", "allOf", "anyOf")
_KEYWORDS = (
    (r"min/maxProperties|minProperties|required > maxProperties", ("minProperties", "maxProperties")),
    (r"patternProperty|pattern_properties", ("patternProperties",)),
    (r"required property", (*_VALUES, "required")),
    (r"required item|prefixItems", (*_VALUES, "minItems", "items", "prefixItems")),
    (
        r"[Rr]egex|length constraints",
        ("const", "enum", "pattern", "patternProperties", "propertyNames", "format"),
    ),
    (r"multiple", ("multipleOf",)),
    (r"minLength", ("minLength", "maxLength")),
    (
        r"range|minimum|maximum|Minimum|Maximum|bounds|integer values",
        ("const", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    ),
    (r"circular", ("$ref",)),
    (r"minItems", ("const", "minItems", "maxItems")),
    (r"incompatible|[Uu]nsatisfiable|All options", (*_VALUES, "type")),
)


def checked_grammar(request: GrammarRequest) -> Grammar:
    """Return the request's grammar. Raises RequestError for what llguidance can't hold."""
    loose: set[str] = set()
    left_out: tuple[str, ...] = ()
    while True:
        grammar = grammar_of(request, frozenset(loose))
        problem = _problem(grammar.text)
        if problem is None:
            return Grammar(grammar.text, tuple(dict.fromkeys([*grammar.left_out, *left_out])))
        error = _error(request, grammar.text, problem)
        if not request.relaxed or error.node is None or len(loose) >= _MAX_LEFT_OUT:
            raise error
        left_out = (*left_out, error.param or "")
        loose.add(error.node)


class _Refusal(RequestError):
    """A RequestError that knows the place of the subschema; None: it is no schema's."""

    def __init__(self, message: str, param: str, node: str | None) -> None:
        super().__init__(message, param, "unsupported_schema" if node else "unsupported_grammar")
        self.node = node


def _problem(grammar: str) -> str | None:
    from llguidance import LLMatcher

    is_error, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    return (messages[0] if messages else "unknown") if is_error else None


def _error(request: GrammarRequest, grammar: str, problem: str) -> _Refusal:
    for rewriter in _schemas(request):
        found = _culprit(rewriter)
        if found is not None:
            node, reason = found
            keyword = _keyword(node, reason)
            place = node.place if keyword is None else node.place.at(keyword)
            return _Refusal(
                f"'{place.text}' can't be held: {explained(_short(reason), keyword)}",
                place.text,
                node.place.text,
            )
    sentence = explained(_short(problem), line=_line(request, grammar, problem))
    return _Refusal(f"'{request.field}' can't be held: {sentence}", request.field, None)


def _keyword(node: Node, reason: str) -> str | None:
    """Return the keyword of a subschema that the reason is about."""
    for words, names in _KEYWORDS:
        if re.search(words, reason) and (found := [name for name in names if name in node.schema]):
            return found[0]
    return None


def _line(request: GrammarRequest, grammar: str, problem: str) -> int | None:
    """Return the line of a client's grammar that a problem is in."""
    found = re.match(r"at (\d+)\(\d+\): |(\d+)\(\d+\): ", problem)
    constraint = request.constraint
    if found is None or constraint is None or request.lark is not None:
        return None
    n_lines = constraint.text.count("\n") + 1
    line = int(found[1] or found[2]) - grammar.count("\n") - 1 + n_lines
    return line if 1 <= line <= n_lines else None


def _schemas(request: GrammarRequest) -> list[SchemaRewriter]:
    """Return the rewriters of the request's schemas, at work already."""
    rewriters: list[SchemaRewriter] = []

    def rewrite(schema: Any, place: Place, *, relaxed: bool) -> dict[str, Any]:
        rewriter = SchemaRewriter(schema, place, relaxed=relaxed)
        rewriters.append(rewriter)
        return rewriter.document()

    constraint = request.constraint
    if constraint is not None and constraint.kind == "json_schema":
        rewrite(json.loads(constraint.text), Place(constraint.param), relaxed=False)
    if request.lark is not None:
        place = Place(request.param)
        with_schemas(
            request.lark,
            place,
            lambda schema: rewrite(schema, own_place(schema, place), relaxed=request.relaxed),
        )
    return rewriters


def _culprit(rewriter: SchemaRewriter) -> tuple[Node, str] | None:
    """Return the innermost subschema that llguidance refuses by itself, and why."""
    deadline = time.monotonic() + _SEARCH_S
    found: tuple[Node, str] | None = None
    for node in list(rewriter.visited):
        if time.monotonic() > deadline:
            break
        if not isinstance(node.schema, dict) or (
            found and not node.place.text.startswith(found[0].place.text)
        ):
            continue
        root = rewriter.references.root
        try:
            document = SchemaRewriter(root.schema, root.place, relaxed=True).from_node(node)
            reason = _problem(f"start: {schema_rule(document)}")
        except RequestError as error:
            reason = error.message
        if reason is not None:
            found = (node, reason)
    return found


def _short(problem: str) -> str:
    """Return llguidance's message without its place in a text that the client doesn't know."""
    lines = [line for line in problem.splitlines() if not re.match(r"\s*\d+ \||\s*\^*\s*$", line)]
    plain = re.sub(r"^(at )?\d+\(\d+\): |failed to compile JSON schema: ", "", " ".join(lines))
    return plain[:300]
