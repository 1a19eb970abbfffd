"""Constraints of each kind, as texts that follow them and texts that don't."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from models.errors import RequestError
from models.llamacpp.vocab import Vocab
from server.chat.tool_formats import lark
from server.ipc.constraint import Constraint, ConstraintKind
from server.worker.constraints import compiler as compiler_module
from server.worker.constraints.compiler import MAX_USES, ConstraintCompiler
from server.worker.constraints.grammar_text import CONTENT
from tests.server.worker.constraints.walks import follows, spelled

SOURCE = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")


def form(kind: ConstraintKind, text: Any) -> Constraint:
    return Constraint(kind=kind, text=text if isinstance(text, str) else json.dumps(text), param="form")


@pytest.mark.parametrize(
    ("constraint", "right", "wrong"),
    [
        (form("json_object", ""), '{"a": [1, null]}', "[1]"),
        (form("json_object", ""), '{\n    "a": 1\n}', '{  "a": 1}'),
        (form("regex", r"^a/b\d+$"), "a/b12", "a/b"),
        (form("choice", ["ab", "abc", 'é"/']), "abc", "abcd"),
        (form("choice", ["ab", "abc", 'é"/']), 'é"/', "é"),
        (form("lark", 'start: word " " NAME\nword: "hi"\nNAME: /[a-z]+/'), "hi bob", "hi Bob"),
        (form("lark", '%llguidance {}\n?start: x\n%ignore / /\nx: "a" "b"'), "a b", "ba"),
        (form("lark", 'start: %json {"anyOf": [{"$ref": "#/x"}], "x": {"const": 1}}'), "1", "2"),
        (form("gbnf", 'root ::= "a" [0-9]+'), "a12", "a"),
        (form("gbnf", 'root ::= [a-z]* "a"'), "bba", "bb"),
        (form("gbnf", 'root ::= "(" root ")" | ("ab" | "abc") "c"'), "((abc))", "(ab)"),
        (form("gbnf", 'root ::= "(" root ")" | ("ab" | "abc") "c"'), "(abcc)", "(abccc)"),
        (form("gbnf", 'root ::= "(" root ")" | [a-z]* "a"'), "(bba)", "(bb)"),
        (form("gbnf", 'root ::= root "a" | b-C\nb-C ::= "b" # c'), "baa", "ab"),
        (form("gbnf", 'root ::= "\\x41\\u00e9[-]" [\\]\\-x]{2} .'), "Aé[-]]-\n", "Aé[-]]y\n"),
        (form("json_schema", {"properties": {"é": False}, "type": "object"}), '{"e": 1}', '{"\\u00e9": 1}'),
        (form("json_schema", {"not": {"enum": ["ab", 1]}}), '"abc"', '"ab"'),
        (form("json_schema", {"type": "string", "format": "date"}), '"2024-02-29"', '"2023-02-29"'),
        (form("json_schema", {"enum": ["a", 1, None], "type": ["string", "null"]}), "null", "1"),
        (form("json_schema", {"type": "integer", "minimum": 3, "exclusiveMinimum": True}), "4", "3"),
        (form("json_schema", {"type": "integer"}), "-9007199254740991", "9007199254740992"),
        (form("json_schema", {"type": "integer", "minimum": 1}), "9007199254740991", "10000000000000000"),
        (form("json_schema", {"type": ["integer", "null"], "maximum": 5}), "-17", "-9007199254740992"),
        (form("json_schema", {"type": ["null", "integer"]}), "null", "1" * 17),
        (form("json_schema", {"items": {"type": "integer", "exclusiveMaximum": 0}}), "[-1]", "[0]"),
        (form("json_schema", {"type": "integer", "multipleOf": 7}), "14", "15"),
        (form("json_schema", {"type": "integer", "multipleOf": 7}), "9007199254740988", "90071992547409880"),
        (form("json_schema", {"type": "number", "minimum": 0}), "0.1234567891", "0.12345678912"),
        (form("json_schema", {"type": "number", "minimum": 0}), "9007199254740991", "10000000000000000"),
        (form("json_schema", {"type": ["null", "number"], "maximum": 2.5}), "-1.50", "2.6"),
        (form("json_schema", {"type": "number", "minimum": 0, "maximum": 5e-4}), "0.000123456789012", "0.1"),
        (form("json_schema", {"type": "number", "multipleOf": 0.25}), "1.75", "1.80"),
        (form("json_schema", {"type": "number"}), "1.6e-19", "1.e5"),
        (form("json_schema", {"not": {"type": "integer"}}), "null", "1"),
    ],
)
def test_texts_follow(
    constraint: Constraint, right: str, wrong: str, compiler: ConstraintCompiler, vocab: Vocab
) -> None:
    grammar = compiler.compile(constraint)
    assert follows(grammar, vocab, right)
    assert not follows(grammar, vocab, wrong)


WORDS = [f"{first}{last}{n}" for first in ("red", "old") for last in ("house", "river") for n in range(1200)]


def test_a_known_grammar_isn_t_checked_again(compiler: ConstraintCompiler, vocab: Vocab) -> None:
    constraint = form("regex", "known[0-9]{2}")
    compiler.compile(constraint)
    n_children = len(psutil.Process().children())
    compiler.close()
    again = compiler.compile(constraint)
    assert follows(again, vocab, "known12")
    assert len(psutil.Process().children()) == n_children - 1, "no child was started"


def test_what_one_answer_did_to_a_lexer_is_forgotten(compiler: ConstraintCompiler, vocab: Vocab) -> None:
    """The states of a lexer are bounded: the answers of one request share them, those of all don't."""
    constraint = form("regex", r"[\w ]{1,90000}")
    for _ in range(3):
        matcher = compiler.compile(constraint).matcher()
        for token in spelled(vocab, "ab " * 400):
            matcher.compute_bitmask()
            assert matcher.consume_token(token), matcher.get_error()


def test_a_dear_lexer_is_shared(compiler: ConstraintCompiler, monkeypatch: pytest.MonkeyPatch) -> None:
    constraint = form("choice", WORDS)
    monkeypatch.setattr(compiler_module, "DEAR_S", 0.0)
    first = compiler.compile(constraint)
    assert all(compiler.compile(constraint) is first for _ in range(MAX_USES))
    assert compiler.compile(constraint) is not first


@pytest.mark.parametrize("n", [100, 300])
def test_many_whole_numbers_are_compiled_once(n: int, compiler: ConstraintCompiler, vocab: Vocab) -> None:
    """One range of 64 bits for each would be too large a grammar."""
    properties = {f"p{i}": {"type": "integer", "description": f"the {i}th"} for i in range(n)}
    varied = {f"q{i}": {"type": "integer", "minimum": i} for i in range(n // 2)}
    decimals = {f"r{i}": {"type": "number", "minimum": i} for i in range(n // 2)}
    for given in (properties, varied, decimals):
        schema = {"type": "object", "properties": given, "additionalProperties": False}
        assert follows(compiler.compile(form("json_schema", schema)), vocab, f'{{"{min(given)}":5}}')


@pytest.mark.parametrize(
    ("schema", "param"),
    [
        ({"properties": {"a": {"not": {"pattern": "x"}}}}, "form.properties.a.not.pattern"),
        ({"properties": {"a": {"pattern": "(?=x)"}}}, "form.properties.a.pattern"),
        ({"items": {"uniqueItems": True}}, "form.items.uniqueItems"),
        ({"properties": {"a b": {"format": "regex"}}}, "form.properties['a b'].format"),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"maxLength": 10**9}}}, "form.$defs.x.maxLength"),
        ({"$ref": "http://example.org"}, "form.$ref"),
        ({"items": {"properties": {"x": {}, "y": {}}, "maxProperties": 1}}, "form.items.maxProperties"),
        ({"type": "string", "const": 5}, "form.const"),
        ({"oneOf": [{"pattern": "a"}, {"pattern": "b"}]}, "form.oneOf"),
        ({"type": "object", "unevaluatedProperties": False, "anyOf": [{}]}, "form.unevaluatedProperties"),
        ({"const": 2**60}, "form.const"),
        ({"allOf": [{"type": "integer", "multipleOf": p} for p in (99991, 99989, 99971)]}, "form.allOf"),
        (
            {"multipleOf": 0.07, "allOf": [{"$ref": "#/$defs/x"}], "$defs": {"x": {"multipleOf": 99991}}},
            "form.allOf",
        ),
    ],
)  # fmt: skip
def test_keyword_and_path_are_named(schema: Any, param: str, compiler: ConstraintCompiler) -> None:
    with pytest.raises(RequestError) as caught:
        compiler.compile(form("json_schema", schema))
    assert caught.value.param == param
    assert param in caught.value.message


@pytest.mark.parametrize(
    ("items", "right", "wrong"),
    [
        ({"enum": [1, 2]}, "[2,1]", "[1,1]"),
        ({"enum": [1, 1.0, True, None, "1"]}, '[1,true,null,"1"]', "[1,1.0]"),
        ({"enum": [0.5, "a"], "type": ["number", "boolean"]}, "[0.5]", '["a"]'),
        ({"enum": ["a", True], "type": "string"}, '["a"]', '["a",true]'),
        ({"enum": ["b", "a"], "const": "a"}, '["a"]', '["b"]'),
        ({"type": ["boolean", "null"]}, "[null,false]", "[null,null]"),
        ({"$ref": "#/$defs/few", "enum": ["a", "c", "b"]}, '["b","a"]', '["c"]'),
        ({"$ref": "#/$defs/few", "type": "integer"}, "[3]", '["a"]'),
    ],
)  # fmt: skip
def test_items_that_are_unique_hold_all_that_is_said_of_them(
    items: Any, right: str, wrong: str, compiler: ConstraintCompiler, vocab: Vocab
) -> None:
    schema = {"type": "array", "uniqueItems": True, "items": items, "$defs": {"few": {"enum": ["a", "b", 3]}}}
    grammar = compiler.compile(form("json_schema", schema))
    assert follows(grammar, vocab, right)
    assert not follows(grammar, vocab, wrong)


@pytest.mark.parametrize("text", [r"start: /[^\s\S]/", "start: A\nA: /a/ & /b/"])
def test_a_grammar_that_no_text_follows_is_told_so(text: str, compiler: ConstraintCompiler) -> None:
    with pytest.raises(RequestError, match=r"'form' can't be held: no text follows it; add an option"):
        compiler.compile(form("lark", text))


@pytest.mark.parametrize("nested", [False, True])
def test_a_required_name_that_nothing_allows_is_told(nested: bool, compiler: ConstraintCompiler) -> None:
    schema: Any = {"properties": {"a": {}}, "required": ["a", "b c"], "additionalProperties": False}
    schema |= {"type": "object"}
    if nested:
        schema = {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/x"}, "$defs": {"x": schema}}
    with pytest.raises(RequestError, match="'required' names 'b c', which 'properties' doesn't"):
        compiler.compile(form("json_schema", schema))


@pytest.mark.parametrize(
    ("thinks", "right", "wrong"),
    [
        (False, "<think>so {</think>\n\n{}", "so </think>{}"),
        (False, "{}", "<think>{}"),
        (True, 'so {"a"</think>{}', "{}"),
    ],
)
def test_a_form_holds_after_thoughts(
    thinks: bool, right: str, wrong: str, compiler: ConstraintCompiler, vocab: Vocab
) -> None:
    grammar = compiler.compile(form("json_object", ""), thoughts=("<think>", "</think>"), thinks=thinks)
    assert follows(grammar, vocab, right)
    assert not follows(grammar, vocab, wrong)


def test_a_format_s_grammar_has_schemas_and_content(compiler: ConstraintCompiler, vocab: Vocab) -> None:
    schema = {"type": "object", "properties": {"a": {"uniqueItems": True, "type": "array"}}}
    text = f'start: "<c>" {lark.json_rule(schema)} | {CONTENT}'
    with pytest.raises(RequestError) as caught:
        compiler.compile_lark(text, "tools")
    assert caught.value.param == "tools.properties.a.uniqueItems"
    grammar = compiler.compile_lark(text, "tools", content=form("gbnf", 'root ::= "x"+'), relaxed=True)
    assert grammar.left_out == ("tools.properties.a.uniqueItems",)
    assert follows(grammar, vocab, '<c>{"a": [1, 1]}')
    assert follows(grammar, vocab, "xx")
    assert not follows(grammar, vocab, '<c>{"a": 1}')


GRAMMARS = {
    "arithmetic": "1+2*x=3\n(4-x)=y\n",
    "c": "int main(){int x = 3;return x ;}",
    "chess": "1. e4 e5\n2. Nf3 Nc6\n",
    "json": '{"a": [1, 2.5e3, "x\\n"], "b": null}',
    "json_arr": '[\n1,\n{"a": true}]',
    "list": "- hello\n- world\n",
    "english": "Hello, world",
    "japanese": "こんにちは",
}


@pytest.mark.skipif(SOURCE is None, reason="CORRAL_LLAMA_CPP_SOURCE isn't set")
@pytest.mark.parametrize("name", GRAMMARS)
def test_llama_cpp_s_grammars_compile(name: str, compiler: ConstraintCompiler, vocab: Vocab) -> None:
    text = Path(SOURCE or "", "grammars", f"{name}.gbnf").read_text()
    grammar = compiler.compile(form("gbnf", text))
    if name != "c":
        assert follows(grammar, vocab, GRAMMARS[name])
