"""Refused grammars that come again."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from models.errors import RequestError
from models.llamacpp.vocab import Vocab
from server.ipc.constraint import Constraint
from server.worker.constraints.checker import Limits
from server.worker.constraints.grammar_text import Grammar, GrammarRequest
from server.worker.constraints.process import NoTime
from server.worker.constraints.refusals import MAX_REFUSALS, Refusals
from tests.server.worker.constraints.patience import PATIENCE_S, patient_compiler
from tests.server.worker.constraints.walks import follows


def test_the_last_ones_are_kept() -> None:
    refusals = Refusals()
    refusals.check(b"a")
    for n in range(MAX_REFUSALS):
        refusals.keep(f"{n}".encode(), RequestError(f"no {n}", "form", "code"))
    with pytest.raises(RequestError, match="no 0") as caught:
        refusals.check(b"0")
    assert (caught.value.param, caught.value.code) == ("form", "code")
    refusals.keep(b"more", RequestError("no more"))
    refusals.check(b"1")  # the one that was used longest ago
    with pytest.raises(RequestError, match="no 0"):
        refusals.check(b"0")


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{"type": "string", "pattern": f"a.{{{i}}}b.*c.*d"} for i in range(60)]},  # at the limit
        {"type": "array", "uniqueItems": True},
        {"type": "object", "properties": {f"p{i}": {} for i in range(700)}},  # by the compilation
    ],
)
def test_a_refused_grammar_costs_nothing_again(
    schema: object, vocab: Vocab, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = patient_compiler(vocab, Limits(cpu_s=0.5, wall_s=PATIENCE_S))
    n_asked = 0
    ask = compiler._process.grammar

    def count(request: GrammarRequest, encoded: bytes) -> Grammar:
        nonlocal n_asked
        n_asked += 1
        return ask(request, encoded)

    monkeypatch.setattr(compiler._process, "grammar", count)
    constraint = Constraint(kind="json_schema", text=json.dumps(schema), param="form")

    def refusal(_: int) -> tuple[str, str | None, str | None]:
        with pytest.raises(RequestError) as caught:
            compiler.compile(constraint)
        return caught.value.message, caught.value.param, caught.value.code

    refusals = {refusal(0)} if "properties" in constraint.text else set()
    with ThreadPoolExecutor(4) as threads:
        refusals |= set(threads.map(refusal, range(8)))
    assert len(refusals) == 1
    assert n_asked == 1, "those that waited are refused with the first"
    compiler.close()


def test_one_that_another_moment_may_be_done_with_is_tried_again(vocab: Vocab) -> None:
    compiler = patient_compiler(vocab, Limits(wall_s=0.001))
    constraint = Constraint(kind="json_object", text="", param="form")
    with pytest.raises(NoTime):
        compiler.compile(constraint)
    compiler.close()
    compiler._process._limits = Limits(wall_s=PATIENCE_S)
    assert follows(compiler.compile(constraint), vocab, "{}")
    compiler.close()


def test_a_form_that_was_checked_before_its_prompt_is_not_checked_again(
    vocab: Vocab, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = patient_compiler(vocab)
    constraint = Constraint(kind="json_object", text="", param="form")
    compiler.check(constraint)
    monkeypatch.setattr(compiler._process, "grammar", None)
    compiler.check(constraint)
    assert follows(compiler.compile(constraint), vocab, "{}")
    compiler.close()
