"""Schemas that overlap, numbers that aren't whole, values that are too long: exact, or refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from models.errors import RequestError
from server.ipc.constraint import Constraint
from server.worker.constraints.check import checked_grammar
from server.worker.constraints.grammar_text import GrammarRequest
from server.worker.constraints.schema.limits import Place
from server.worker.constraints.schema.repetitions import check_repetitions, least_length

BYTES = LLTokenizer("byte")
WHOLE = {"type": "integer"}
NUMBER = {"type": "number"}
OBJECT = {"type": "object"}


def grammar_of(schema: Any) -> str:
    constraint = Constraint(kind="json_schema", text=json.dumps(schema), param="form")
    return checked_grammar(GrammarRequest(param="form", constraint=constraint)).text


def follows(grammar: str, text: str) -> bool:
    matcher = LLMatcher(BYTES, grammar, log_level=0)
    assert not matcher.get_error()
    tokens = BYTES.tokenize_str(text)
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"oneOf": [WHOLE, NUMBER]}, "1.5 -0.25 99.5", "1 0 -0 1.0 null"),
        ({"oneOf": [WHOLE, {**NUMBER, "minimum": 0}]}, "-1 0.5", "1 0 -1.5"),
        ({"oneOf": [{"type": ["integer", "string"]}, {"type": ["number", "null"]}]}, '1.5 null "a"', "1"),
        ({"oneOf": [{}, WHOLE]}, '1.5 null "a" {}', "1"),
        ({"oneOf": [WHOLE, NUMBER, {"type": "null"}]}, "1.5 null", "1"),
        ({"not": WHOLE}, "1.5 null", "1"),
        ({**NUMBER, "not": {"multipleOf": 1}}, "1.5", "1 2.0"),
        ({"if": WHOLE, "then": {"minimum": 5}, "else": NUMBER}, "5 4.5", "4 null"),
        ({"oneOf": [{"enum": [1, 2]}, {"enum": [2.0, 3]}]}, "1 3", "2"),
        ({"oneOf": [{"enum": [1, 2]}, {**NUMBER, "minimum": 1, "maximum": 2}]}, "1.5", "1 2"),
        ({"oneOf": [{"enum": [{"a": 1}, [1]]}, {"enum": [{"a": 1.0}, 3]}]}, "[1] 3", '{"a":1}'),
        ({"enum": [{"a": 1}, {"b": 1}], "not": {"const": {"a": 1}}}, '{"b":1}', '{"a":1}'),
        ({"enum": [[1], [2], "a"], "not": {"enum": [[1], "a"]}}, "[2]", '[1] "a"'),
        (
            {"oneOf": [{"type": "string", "minLength": 2}, {"type": "string", "maxLength": 3}]},
            '"a" "abcd"',
            '"ab"',
        ),
        ({"oneOf": [{"type": "boolean"}, {"const": True}]}, "false", "true"),
        ({"type": ["integer", "number"]}, "1 1.5", "null"),
        ({"anyOf": [WHOLE, NUMBER]}, "1 1.5", "null"),
        ({"allOf": [WHOLE, NUMBER]}, "1", "1.5"),
        ({"allOf": [{"enum": [1, 2]}, {"enum": [2, 3]}]}, "2", "1 3"),
        ({**NUMBER, "exclusiveMinimum": 0, "maximum": 0.5}, "0.2 0.5", "0 0.0"),
        ({**NUMBER, "minimum": -2.5, "exclusiveMaximum": -2}, "-2.5 -2.1", "-2 -2.0"),
        ({"allOf": [{**NUMBER, "exclusiveMinimum": 3}, {"maximum": 3.5}]}, "3.2", "3"),
        ({"type": ["integer", "null"], "exclusiveMinimum": 3, "exclusiveMaximum": 5}, "4 null", "3 5"),
    ],
)
def test_overlaps_are_exact(schema: Any, right: str, wrong: str) -> None:
    grammar = grammar_of(schema)
    assert [text for text in right.split() if not follows(grammar, text)] == []
    assert [text for text in wrong.split() if follows(grammar, text)] == []


def test_an_opposite_deep_inside_isn_t_taken_for_what_it_opposes() -> None:
    """Deep subschemas are definitions; two that are written for one place are two."""
    schema: Any = {
        "if": {"enum": ["a", "b"]},
        "then": {"const": "a"},
        "else": {"oneOf": [WHOLE, {"enum": ["c"]}]},
    }
    for _ in range(12):
        schema = {"type": "array", "items": schema, "minItems": 1}
    grammar = grammar_of(schema)
    for text, is_right in (('"a"', True), ('"b"', False), ('"c"', True), ("1", True), ('"d"', False)):
        assert follows(grammar, f"{'[' * 12}{text}{']' * 12}") is is_right, text


@pytest.mark.parametrize(
    "schema",
    [
        {"oneOf": [{}, {}]},
        {"oneOf": [{"const": 1}, {"const": 1.0}]},
        {"oneOf": [WHOLE, {**NUMBER, "multipleOf": 1}]},
    ],
)
def test_one_of_equal_schemas_is_refused(schema: Any) -> None:
    with pytest.raises(RequestError, match="matches another of them, too; use anyOf") as caught:
        grammar_of({"items": schema, "type": "array", "minItems": 1})
    assert caught.value.param == "form.items.oneOf"


def nested(n: int, depth: int, within: Any) -> Any:
    for _ in range(depth):
        within = {"type": "array", "minItems": n, "items": within}
    return within


def chain(n: int, length: int) -> Any:
    links = {f"a{i}": nested(n, 1, {"$ref": f"#/$defs/a{i + 1}"}) for i in range(length)}
    return {"$ref": "#/$defs/a0", "$defs": {**links, f"a{length}": {"type": "null"}}}


@pytest.mark.parametrize(
    ("schema", "param"),
    [
        (nested(900, 3, WHOLE), "form.items.minItems"),
        ({**OBJECT, "properties": {"a": nested(900, 3, WHOLE)}}, "form.properties.a.items.minItems"),
        ({"anyOf": [{"type": "null"}, nested(900, 3, {})]}, "form.anyOf[1].items.minItems"),
        (
            {**OBJECT, "patternProperties": {"^a": nested(900, 2, {"const": "ab"})}},
            "form.patternProperties['^a'].minItems",
        ),
        (chain(10, 10), "form.$defs.a4.minItems"),
        (nested(1000, 1, {"type": "string", "minLength": 10_000}), "form.minItems"),
        (nested(1000, 1, {"type": "string", "pattern": r"^(?:[a-z]|\x{41}){10000}$"}), "form.minItems"),
        ({"type": "string", "minLength": 1_000_000}, "form.minLength"),
        (nested(90_000, 1, {**OBJECT, "required": ["first", "last"]}), "form.minItems"),
        ({"allOf": [nested(1000, 2, {}), {"maxItems": 5000}]}, "form.allOf[0].minItems"),
        ({"contains": nested(900, 3, {})}, "form.contains.items.minItems"),
        ({**OBJECT, "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "form.properties.a"),
        (
            {
                "allOf": [{"$ref": "#/$defs/b"}],
                "$defs": {"b": {"minItems": 1, "type": "array", "items": {"$ref": "#/$defs/b"}}},
            },
            "form.$defs.b.items",
        ),
    ],
)
def test_values_that_no_answer_has_room_for_are_refused(schema: Any, param: str) -> None:
    with pytest.raises(RequestError, match=r"has at least|no finite value") as caught:
        grammar_of(schema)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "schema",
    [
        nested(9, 5, WHOLE),
        chain(10, 5),
        {"type": "string", "minLength": 999_000},
        {**OBJECT, "properties": {"n": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}}, "required": ["n"]},
        nested(900, 1, {"anyOf": [nested(900, 1, {"type": "string"}), {"type": "null"}]}),
    ],
)
def test_values_that_can_be_finished_are_held(schema: Any) -> None:
    assert grammar_of(schema)


@pytest.mark.parametrize("optional", ["properties", "anyOf", "items"])
def test_a_part_that_never_ends_is_not_begun(optional: str) -> None:
    endless: Any = {**OBJECT, "properties": {"x": {"$ref": "#/$defs/x"}}, "required": ["x"]}
    part = {"$ref": "#/$defs/x"}
    cases: dict[str, tuple[dict[str, Any], str, str]] = {
        "properties": ({**OBJECT, "properties": {"a": part}}, "{}", '{"a":{"x":1}}'),
        "anyOf": ({"anyOf": [{"type": "null"}, part]}, "null", "{}"),
        "items": ({"type": "array", "items": part}, "[]", "[{}]"),
    }
    schema, right, wrong = cases[optional]
    grammar = grammar_of({**schema, "$defs": {"x": endless}})
    assert follows(grammar, right)
    assert not follows(grammar, wrong)


@pytest.mark.parametrize(
    ("expression", "length"),
    [
        ("^a{5}$", 5),
        ("(?:ab|c){3}", 3),
        (r"\x{41}{4}\u0041", 5),
        (r"\p{Lu}+\d{2,}", 3),
        ("a|bb", 1),
        ("(a|)b", 1),
        ("[[:alpha:]]{7}", 7),
        ("[^]a]{2}[\\]]", 3),
        ("(?i)x?y*z", 1),
        ("(?x)a b", 0),
        ("a{,3}b{3}?", 0),
        ("", 0),
        ("(ab){2}{3}", 12),
        (r"\bfoo\b", 3),
        ("(?P<n>abc)(?<m>d)", 4),
    ],
)
def test_no_match_of_an_expression_is_shorter(expression: str, length: int) -> None:
    assert least_length(expression) == length


def test_a_letter_s_code_is_no_repetition() -> None:
    check_repetitions(r"\x{100001}", Place("form"))
    with pytest.raises(RequestError, match="multiply to 100,001"):
        check_repetitions("x{100001}", Place("form"))
