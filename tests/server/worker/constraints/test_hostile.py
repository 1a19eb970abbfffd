"""Hostile schemas and grammars: each is refused by name or is safe to follow, and the process goes on."""

from __future__ import annotations

import random
import time

import numpy as np
import psutil
import pytest

from models.errors import RequestError
from models.llamacpp.vocab import Vocab
from server.ipc.constraint import Constraint
from server.worker.constraints.checker import Limits
from server.worker.constraints.compiler import CompiledGrammar, ConstraintCompiler
from tests.hostile_grammars import hostile_constraints
from tests.server.worker.constraints.patience import PATIENCE_S, patient_compiler
from tests.server.worker.constraints.walks import follows, spelled

MAX_S = 150.0
"""The wall time that the child has, what is followed, and a child's start, on a busy machine."""
MAX_STEP_S = 0.4
"""The CPU time of one step under the limits, some ten times of it: llguidance counts work, not time."""
MAX_BYTES = 300 << 20


@pytest.mark.parametrize(
    ("n", "seed"), [(17, 5), *(pytest.param(500, seed, marks=pytest.mark.thorough) for seed in (6,))]
)
@pytest.mark.timeout(2400)
def test_each_is_refused_by_name_or_safe_to_follow(n: int, seed: int, vocab: Vocab) -> None:
    compiler = patient_compiler(vocab, Limits(cpu_s=0.5, wall_s=PATIENCE_S))
    fine = Constraint(kind="json_object", param="response_format")
    n_refused = 0
    for number, constraint in enumerate(hostile_constraints(n, seed)):
        begin = time.monotonic()
        outcome = compiled(compiler, constraint)
        if isinstance(outcome, RequestError):
            n_refused += 1
            assert outcome.param is not None, constraint.text[:300]
            assert outcome.param.startswith("form"), constraint.text[:300]
            assert "form" in outcome.message
            assert len(outcome.message) < 1_000
        else:
            follow(outcome, vocab, random.Random(number), constraint.text[:300])
        assert time.monotonic() - begin < MAX_S, constraint.text[:300]
    assert n_refused > n / 2
    assert follows(compiler.compile(fine), vocab, '{"a": [1]}')
    compiler.close()


def compiled(compiler: ConstraintCompiler, constraint: Constraint) -> CompiledGrammar | RequestError:
    """Return the grammar, or the refusal."""
    try:
        return compiler.compile(constraint)
    except RequestError as error:
        return error


def follow(grammar: CompiledGrammar, vocab: Vocab, rng: random.Random, about: str) -> None:
    """Take random tokens, and short ones; each step is bounded, and an end before the text's has a reason."""
    ends = np.array(vocab.eog_tokens)
    memory = psutil.Process().memory_info().rss
    for shortest in (False, True):
        matcher = grammar.matcher()
        for _ in range(150):
            begin = time.thread_time()
            mask = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
            choices = np.setdiff1d(np.flatnonzero(np.unpackbits(mask, bitorder="little")), ends)
            some = [int(rng.choice(choices)) for _ in range(20)] if len(choices) else []
            token = min(some, key=lambda each: len(vocab.piece(each)) * shortest, default=None)
            if token is not None:
                matcher.consume_token(token)
            assert time.thread_time() - begin < MAX_STEP_S, about
            if matcher.is_error():
                assert "form" in grammar.error(matcher), about
            if matcher.is_error() or token is None:
                break
    assert psutil.Process().memory_info().rss - memory < MAX_BYTES, about


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
    grammar = compiled(compiler, constraint)
    if isinstance(grammar, RequestError):
        assert "form" in grammar.message
        return
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
