"""What llguidance refuses reaches the client as a fact, a place and what to do, without its own names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.errors import RequestError
from server.ipc.constraint import Constraint, ConstraintKind
from server.worker.constraints.check import checked_grammar
from server.worker.constraints.explanations import explained
from server.worker.constraints.grammar_text import GrammarRequest

OBJECT = {"type": "object"}
TEXT = {"type": "string"}


def refusal(kind: ConstraintKind, text: Any) -> RequestError:
    text = text if isinstance(text, str) else json.dumps(text)
    constraint = Constraint(kind=kind, text=text, param="form")
    with pytest.raises(RequestError) as caught:
        checked_grammar(GrammarRequest(param="form", constraint=constraint))
    assert caught.value.param is not None
    assert f"'{caught.value.param}' can't be held: " in caught.value.message
    assert "; " in caught.value.message, "it says what to do"
    for theirs in ("Unsatisfiable", "regex parse error", "NoExtension", "c_", "constrained_content", "(?s:"):
        assert theirs not in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("schema", "param", "words"),
    [
        ({"pattern": "["}, "pattern", "Rust's syntax: unclosed character class; correct it"),
        ({"pattern": "(?=x)"}, "pattern", "has a look-around"),
        ({"pattern": r"\bfoo"}, "pattern", "border of words"),
        ({"pattern": "a$b"}, "pattern", "an anchor inside"),
        ({"pattern": r"(a)\1"}, "pattern", "refers back to a group"),
        ({"pattern": "^a$", "minLength": 3, **TEXT}, "pattern", "no text follows all"),
        (
            {"minLength": 9, "maxLength": 3, **TEXT},
            "minLength",
            "minLength is 9 and maxLength 3, so no value",
        ),
        ({"format": "date", "maxLength": 2, **TEXT}, "format", "no text follows all"),
        ({"format": "ipv6", "minLength": 100, **TEXT}, "format", "too complex together"),
        ({"minItems": 3, "maxItems": 2, "type": "array"}, "minItems", "minItems is 3 and maxItems 2"),
        ({"minimum": 9, "maximum": 3, "type": "integer"}, "minimum", "minimum is 9 and maximum 3"),
        ({"minimum": 1.2, "maximum": 1.8, "type": "integer"}, "minimum", "no whole number lies between"),
        ({"multipleOf": 7, "minimum": 1, "maximum": 6, "type": "integer"}, "multipleOf", "no multiple of 7"),
        ({"multipleOf": 12345678901}, "multipleOf", "above 4,294,967,295; round it"),
        ({"const": "abc", "maxLength": 2}, "const", "doesn't match the other keywords"),
        ({"const": {"a": 1}, "required": ["b"]}, "const", "doesn't match the other keywords"),
        ({"enum": ["a"], "pattern": "^b"}, "enum", "none of its values"),
        ({"allOf": [{"const": 1}, {"const": 2}]}, "allOf", "no value matches all of its schemas"),
        (
            {"oneOf": [{"type": "integer"}, {"type": "integer"}]},
            "oneOf",
            "matches another of them, too; use anyOf",
        ),
        ({"type": "string", "not": {"type": "string"}}, "not", "excludes each value"),
        ({"enum": [1, 2], "not": {"enum": [2, 1]}}, "not", "excludes each value of 'enum'"),
        (
            {**OBJECT, "required": ["a"], "propertyNames": {"pattern": "^b"}},
            "required",
            "required property 'a'",
        ),
        (
            {**OBJECT, "required": ["a", "b"], "maxProperties": 1},
            "maxProperties",
            "more names than maxProperties",
        ),
        (
            {**OBJECT, "properties": {"a": {}}, "maxProperties": 0},
            "maxProperties",
            "each name in 'properties'",
        ),
        (
            {**OBJECT, "patternProperties": {"^a": TEXT, "a$": {}}},
            "patternProperties",
            "a name could match /^a/ and",
        ),
        ({**OBJECT, "propertyNames": {"pattern": "("}}, "propertyNames", "Rust's syntax: unclosed group"),
        (
            {
                "$id": "x:y",
                "$ref": "#/$defs/a",
                "$defs": {"a": {"anyOf": [TEXT, {"$ref": "#/$defs/a", **OBJECT}]}},
            },
            "$defs.a.anyOf[1].$ref",
            "refers in a circle",
        ),
        (
            {
                "allOf": [
                    {"anyOf": [{"properties": {f"a{i}": {"const": j}}} for j in range(12)]} for i in range(7)
                ]
            },
            "",
            "fewer options",
        ),
    ],
)
def test_of_a_schema(schema: Any, param: str, words: str) -> None:
    error = refusal("json_schema", {"properties": {"x": schema, "y": {}}, **OBJECT, "required": ["x"]})
    if param:
        assert error.param == f"form.properties.x.{param}"
    assert words in error.message


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("regex", "[", "Rust's syntax: unclosed character class; correct it"),
        ("regex", "a(?!b)", "has a look-around"),
        ("regex", r"(a)\1", "refers back to a group"),
        ("lark", "start: x", "there is no rule or terminal 'x'; define it"),
        ("lark", 'start: "a"\n%ignore / /\nstart: "b"', "'start' is defined twice; join"),
        ("lark", 'start: A\nA: "x" | A "y"', "the terminal 'A' refers to a rule or to itself"),
        ("lark", 'start: "a".."zz"', "between two single characters"),
        ("lark", 'start: "z".."a"', "the range 'z'..'a' ends before it begins"),
        ("lark", 'start: a{3,2}\na: "x"', "the bounds (3, 2) of a repetition contradict"),
        ("lark", "start: A\nA: %json {}", "%json stands in a terminal; put it into a rule"),
        ("lark", "start: %regex {}", '%regex is followed by one of {"substring_words"'),
        ("lark", 'start::_ : "a"', "parameters that don't fit; write plain rules"),
        ("lark", 'start: x\nx: "a', "a letter in line 2 isn't Lark's"),
        ("lark", 'start: x\n// so\nx: ("a"\n', "its syntax isn't Lark's in line 3: Expected token ')'"),
        ("lark", "start: /[/", "Rust's syntax: unclosed character class"),
    ],
)
def test_of_a_grammar(kind: ConstraintKind, text: str, words: str) -> None:
    error = refusal(kind, text)
    assert error.param == "form"
    assert words in error.message


def test_what_nobody_knows_is_told_as_it_is() -> None:
    assert explained("the moon is full") == "the moon is full; make it simpler"
    assert explained("Unsatisfiable schema: new words").startswith("no value matches all that is said here")
