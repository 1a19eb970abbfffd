"""`checked_grammar`: a grammar that llguidance takes, or the refusal with keyword and path. Pure.

It may take any time and memory: `GrammarProcess` runs it in a process of its own.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

from models.errors import RequestError
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

_KEYWORDS = (
    (r"min/maxProperties|minProperties|required > maxProperties", ("minProperties", "maxProperties")),
    (r"patternProperty|pattern_properties", ("patternProperties",)),
    (r"regex", ("pattern", "patternProperties", "format")),
    (r"multiple", ("multipleOf",)),
    (r"minLength", ("minLength", "maxLength")),
    (r"range|minimum|maximum|bounds", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")),
    (r"circular", ("$ref",)),
    (r"minItems", ("minItems", "maxItems")),
    (
        r"incompatible|[Uu]nsatisfiable|All options",
        ("const", "enum", "allOf", "anyOf", "oneOf", "not", "type"),
    ),
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
        error = _error(request, problem)
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


def _error(request: GrammarRequest, problem: str) -> _Refusal:
    for rewriter in _schemas(request):
        found = _culprit(rewriter)
        if found is not None:
            node, reason = found
            keywords = next((names for words, names in _KEYWORDS if re.search(words, reason)), ())
            keyword = next((name for name in keywords if name in node.schema), None)
            place = node.place if keyword is None else node.place.at(keyword)
            return _Refusal(f"'{place.text}' can't be held: {_short(reason)}", place.text, node.place.text)
    return _Refusal(f"'{request.field}' can't be held: {_short(problem)}", request.field, None)


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
    plain = re.sub(r"^at \d+\(\d+\): |failed to compile JSON schema: ", "", " ".join(lines))
    return plain[:300]
