"""Grammars that never end, or not before an answer does: refused by the name of the rule."""

from __future__ import annotations

import pytest
from llguidance import LLMatcher, LLTokenizer

from models.errors import RequestError
from server.ipc.constraint import Constraint, ConstraintKind
from server.worker.constraints.check import checked_grammar
from server.worker.constraints.grammar_text import GrammarRequest

BYTES = LLTokenizer("byte")


def checked(kind: ConstraintKind, text: str) -> str:
    constraint = Constraint(kind=kind, text=text, param="form")
    return checked_grammar(GrammarRequest(param="form", constraint=constraint)).text


def begins(grammar: str, text: str) -> bool:
    matcher = LLMatcher(BYTES, grammar, log_level=0)
    tokens = BYTES.tokenize_str(text)
    return bool(matcher.try_consume_tokens(tokens) == len(tokens))


@pytest.mark.parametrize(
    ("kind", "text", "rule"),
    [
        ("lark", "start: start", "start"),
        ("lark", 'start: "a" start | "b" start', "start"),
        ("lark", 'start: x\nx: y "x"\ny: "z" y', "y"),
        ("lark", 'start: a\na: b "x"\nb: a "y"', "b"),
        ("lark", 'start: "a" | b\nb: "c" b', "b"),
        ("lark", 'start: "a" [b]\n?b: "c" (b | b b)', "b"),
        ("lark", 'start: "a" b*\nb[capture]: "c" b~2', "b"),
        ("lark", 'start: A\nA: "x" B\nB: A', "B"),
        ("gbnf", 'root ::= "a" root', "root"),
        ("gbnf", 'root ::= x\nx ::= "a" y\ny ::= "b" y | [a] y', "y"),
        ("gbnf", r"root ::= x+" + "\n" + r"x ::= [^\x00-\U0010FFFF]", "x"),
    ],
)
def test_a_rule_without_an_end_is_named(kind: ConstraintKind, text: str, rule: str) -> None:
    with pytest.raises(
        RequestError, match=f"'form' can't be held: its rule '{rule}' has no end: .*; add an"
    ) as caught:
        checked(kind, text)
    assert caught.value.param == "form"


@pytest.mark.parametrize(
    ("kind", "text", "rule", "length"),
    [
        ("lark", 'start: a{900}\na: b{900}\nb: "xy"{900}', "a", "1,620,000"),
        ("lark", "start: a{1000}\na: A\nA: /[ab]{2000}/", "start", "2,000,000"),
        ("lark", 'start: (a "-"){600000,} | a{700000}\na: "\\u00e9x"', "start", None),
        ("gbnf", 'root ::= x{2000}\nx ::= y{2000} | "z" y{900}\ny ::= [a-z]', "root", "1,802,000"),
        ("gbnf", 'root ::= "a" | root\nx ::= "b"', None, None),
    ],
)
def test_a_rule_that_is_too_long_is_named(
    kind: ConstraintKind, text: str, rule: str | None, length: str | None
) -> None:
    if rule is None:
        checked(kind, text)
        return
    problem = f"each text of its rule '{rule}' has at least {length}" if length else "multiply to"
    with pytest.raises(RequestError, match=problem):
        checked(kind, text)


@pytest.mark.parametrize(
    "text",
    [
        'start: "a" start | "b"',
        'start: "x" // : y\n  | "z" start',
        'start: "a" start | y\ny: "b"\n%ignore / /',
        'start: "a" start | ()',
        'start: x\nx: x | A\nA: B+ & /[ab]+/\nB: "a" | "b"',
        'start: x~1..3\n!x: "\\"" -> quote\n  | "a".."z"',
        'start: %regex {"substring_words": "a b"}',
        "start: _x\n_x: /a|/",
    ],
)
def test_a_grammar_that_ends_is_left_alone(text: str) -> None:
    assert checked("lark", text)


def test_options_that_never_end_are_not_begun() -> None:
    """The texts of the grammar are the same without them, and no answer is lost in one."""
    grammar = checked("gbnf", 'root ::= "e" x* | y | "ab"\nx ::= "f" x\ny ::= "c" z\nz ::= y | "d" z')
    assert begins(grammar, "e")
    assert begins(grammar, "ab")
    assert not begins(grammar, "ef")
    assert not begins(grammar, "c")
