"""Hostile schemas and grammars: a clear refusal each, in bounded time, and the process goes on."""

from __future__ import annotations

import time

import pytest

from models.errors import RequestError
from models.llamacpp.vocab import Vocab
from server.ipc.constraint import Constraint
from server.worker.constraints.compiler import ConstraintCompiler
from server.worker.constraints.process import Limits
from tests.hostile_grammars import hostile_constraints
from tests.server.worker.constraints.walks import follows, spelled

MAX_S = 20.0
"""Two seconds of the child's CPU on a busy machine, and a child's start."""


@pytest.mark.parametrize(
    ("n", "seed"), [(30, 5), *(pytest.param(500, seed, marks=pytest.mark.thorough) for seed in (6,))]
)
@pytest.mark.timeout(1200)
def test_each_is_refused_by_name(n: int, seed: int, vocab: Vocab) -> None:
    compiler = ConstraintCompiler(vocab, Limits(cpu_s=0.5))
    fine = Constraint(kind="json_object", param="response_format")
    for constraint in hostile_constraints(n, seed):
        begin = time.monotonic()
        with pytest.raises(RequestError) as caught:
            compiler.compile(constraint)
        assert caught.value.param is not None, constraint.text[:300]
        assert caught.value.param.startswith("form"), constraint.text[:300]
        assert "form" in caught.value.message
        assert len(caught.value.message) < 1_000
        assert time.monotonic() - begin < MAX_S, constraint.text[:300]
    assert follows(compiler.compile(fine), vocab, '{"a": [1]}')
    compiler.close()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("regex", "(a|b)*a(a|b){200}"),
        ("regex", r"\p{L}{1,100000}"),
        ("lark", 'start: x+\nx: x x | x | "a"'),
        ("lark", 'start: "a"{100000}'),
        ("json_schema", '{"type": "string", "pattern": "(a|b)*a(a|b){200}$"}'),
        ("gbnf", 'root ::= "a" root | root root | "b"'),
    ],
)
def test_what_explodes_while_it_is_followed_is_bounded_or_fails_alone(
    kind: str, text: str, compiler: ConstraintCompiler, vocab: Vocab
) -> None:
    """Each step takes little time, or the matcher says why it can't go on; another one isn't concerned."""
    constraint = Constraint(kind=kind, text=text, param="form")  # type: ignore[arg-type]
    grammar = compiler.compile(constraint)
    matcher = grammar.matcher()
    piece = "ab" if "b" in text else "a"
    letters = spelled(vocab, f'"{piece * 60}' if kind == "json_schema" else piece * 60)
    for token in letters:
        begin = time.monotonic()
        matcher.compute_bitmask()
        assert time.monotonic() - begin < MAX_S / 4
        if matcher.is_error():
            assert "form" in grammar.error(matcher)
            return
        if not matcher.try_consume_tokens([token]):
            break
    assert follows(compiler.compile(Constraint(kind="json_object", param="p")), vocab, "{}")
