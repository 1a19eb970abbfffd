"""Answers under grammars on a real model in F32: they hold, alone or not, whatever samples them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
from llguidance import LLParserLimits

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.engine.answer_plan import AnswerPlan
from server.engine.sequence import Sequence
from server.engine.speculation.ngram import NgramProposer
from server.engine.speculation.speculation import Speculation
from server.worker.sampling import sequence_guide, token_bans
from server.worker.sampling.time_account import TimeLimit
from tests.server.engine.harness import Outcome
from tests.server.worker.grammars import Grammars, small_schemas
from tests.server.worker.session import Ask, Session, f32_context, random_prompt

pytestmark = pytest.mark.model

FORCED_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "a_long_name_that_is_forced": {"enum": [1, 2]},
        "another_name_that_is_forced": {"type": "string", "maxLength": 5},
    },
    "required": ["a_long_name_that_is_forced", "another_name_that_is_forced"],
    "additionalProperties": False,
}
FREE = {"ignore_eos": False, "max_tokens": 200}
WAYS: dict[str, dict[str, Any]] = {
    "argmax": {"temperature": 0.0},
    "candidates": {"temperature": 0.9, "top_k": 20, "seed": 1},
    "whole_row": {"temperature": 1.3, "top_k": 0, "min_p": 0.0, "top_p": 1.0, "seed": 2},
    "top_p": {"temperature": 1.0, "top_k": 0, "top_p": 0.9, "min_p": 0.0, "seed": 3},
    "penalties": {"temperature": 0.8, "seed": 4, "repeat_penalty": 1.3, "presence_penalty": 0.5},
    "typical": {"temperature": 0.9, "seed": 5, "typical_p": 0.7, "top_k": 0},
    "typical_top_k": {"temperature": 0.9, "seed": 5, "typical_p": 0.7, "top_k": 40},
    "mirostat": {"temperature": 0.9, "seed": 6, "mirostat": 2},
    "dry": {"temperature": 0.9, "seed": 7, "dry_multiplier": 0.8},
    "xtc": {"temperature": 0.9, "seed": 8, "xtc_probability": 0.5, "xtc_threshold": 0.05},
    "sigma": {"temperature": 0.9, "seed": 9, "top_n_sigma": 1.0},
    "bias": {"temperature": 0.9, "seed": 9, "logit_bias": ((5, -100.0), (70, 4.0))},
}


Vocabulary = Literal["spm", "bpe"]
PAIRS: list[tuple[Vocabulary, bool]] = [("spm", False), ("bpe", True), ("spm", True), ("bpe", False)]
"""A vocabulary, and whether all sequences share a cache; the first two have each of both."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            pair,
            id=f"{pair[0]}-{'unified' if pair[1] else 'streams'}",
            marks=() if at < 2 else pytest.mark.thorough,
        )
        for at, pair in enumerate(PAIRS)
    ],
)
def pair(request: pytest.FixtureRequest) -> tuple[Vocabulary, bool]:
    chosen: tuple[Vocabulary, bool] = request.param
    return chosen


@pytest.fixture(scope="module")
def model(pair: tuple[Vocabulary, bool], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path: Path = tmp_path_factory.mktemp("guided") / "model.gguf"
    write_tiny_gguf(path, TinyModel(vocabulary=pair[0]))
    with Model.load(path) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def grammars(model: Model) -> Grammars:
    return Grammars(model.vocab)


@pytest.fixture
def context(model: Model, pair: tuple[Vocabulary, bool]) -> Iterator[Context]:
    with f32_context(model, n_seq_max=4, kv_unified=pair[1]) as made:
        yield made


def guided(guide: object, seed: int = 1, **options: Any) -> Ask:
    params = {**FREE, **options.pop("params", {})}
    return Ask(random_prompt(seed, 20, 200), guide=guide, params=params, **options)


def fresh(context: Context, speculation: Speculation | None = None) -> Session:
    """A session on a context that holds nothing."""
    context.clear()
    return Session(context, speculation)


def assert_valid(outcome: Outcome, schema: dict[str, Any]) -> None:
    for index, text in outcome.text.items():
        assert outcome.ends[index].finish_reason == "stop", text
        jsonschema.Draft202012Validator(schema).validate(json.loads(text))


@pytest.mark.parametrize("way", WAYS)
def test_a_schema_holds_whatever_samples(context: Context, grammars: Grammars, way: str) -> None:
    guide = grammars.schema(FORCED_SCHEMA)
    for ask in (guided(guide, params=WAYS[way]), guided(guide, n=3, params=WAYS[way])):
        (outcome,) = fresh(context).answers([ask])
        assert_valid(outcome, FORCED_SCHEMA)
        assert len(outcome.text) == ask.n


@pytest.mark.parametrize("way", WAYS)
def test_forced_tokens_are_the_same_one_by_one(context: Context, grammars: Grammars, way: str) -> None:
    """With logprobs each token gets its row."""
    guide = grammars.schema(FORCED_SCHEMA)
    session = fresh(context)
    at_once, one_by_one = session.answers([guided(guide, params=WAYS[way])]), None
    n_steps = session.engine.stats.steps_total
    one_by_one = session.answers([guided(guide, n_probs=1, params=WAYS[way])])
    assert at_once[0].tokens == one_by_one[0].tokens
    assert at_once[0].finish.usage.completion_tokens == len(at_once[0].tokens[0])
    assert len(one_by_one[0].logprobs[0]) == len(at_once[0].tokens[0])
    n_more = session.engine.stats.steps_total - n_steps
    assert n_steps < len(at_once[0].tokens[0]) - 10 < n_more, "nothing was forced"


def test_logprobs_are_the_models_own(context: Context, grammars: Grammars) -> None:
    ask = guided(grammars.schema(FORCED_SCHEMA), n_probs=0, params=WAYS["argmax"])
    (outcome,) = fresh(context).answers([ask])
    tokens = list(outcome.tokens[0])
    scored = Ask([*ask.prompt, *tokens], score_prompt=True, n_probs=0, params={"max_tokens": 0})
    (expected,) = fresh(context).answers([scored])
    assert expected.prompt_logprobs is not None
    for mine, own in zip(outcome.logprobs[0], expected.prompt_logprobs[len(ask.prompt) :], strict=True):
        assert mine.token == own.token
        assert mine.logprob == pytest.approx(own.logprob, abs=1e-4)


def test_neighbours_and_free_answers_are_not_disturbed(model: Model, grammars: Grammars) -> None:
    asks = [
        guided(grammars.schema(schema), seed, params={"seed": seed, "temperature": 0.9})
        for seed, schema in enumerate(small_schemas()[:6])
    ]
    asks += [Ask(random_prompt(seed, 30, 200), params={"max_tokens": 20}) for seed in range(3)]
    alone = []
    for ask in asks:
        with f32_context(model) as context:
            alone += fresh(context).answers([ask])
    with f32_context(model, n_seq_max=4, n_cells=220) as context:  # some are preempted
        together = fresh(context).answers(asks, steps_between=2)
    assert [each.tokens for each in together] == [each.tokens for each in alone]


def test_preemption_keeps_a_grammars_place(model: Model, grammars: Grammars) -> None:
    schema = {"type": "array", "items": {"enum": ["one", "three"]}, "minItems": 12, "maxItems": 12}
    asks = [
        guided(grammars.schema(schema), seed, params={"seed": seed, "temperature": 1.0}) for seed in range(6)
    ]
    with f32_context(model, n_seq_max=4, n_cells=256, kv_unified=True) as context:
        session = fresh(context)
        outcomes = session.answers(asks)
        assert session.engine.stats.preemptions_total > 0
    for outcome in outcomes:
        assert_valid(outcome, schema)


class Oracle:
    """Guesses what came the last time, with a mistake now and then."""

    guess_s = 0.0
    start_s = 0.0

    def __init__(self, said: list[int], n_prompt: int) -> None:
        self._said, self._n_prompt = said, n_prompt

    def propose(self, wanted: list[tuple[Sequence, int]]) -> list[list[int]]:
        guesses = []
        for sequence, n in wanted:
            at = len(sequence.tokens) - self._n_prompt
            guess = self._said[at : at + min(n, 5)]
            guesses.append([7 if (at + i) % 7 == 3 else token for i, token in enumerate(guess)])
        return guesses

    def rest(self, n_steps: int) -> None:
        pass

    def close(self, sequence: Sequence) -> None:
        pass


@pytest.mark.parametrize("way", ["argmax", "candidates", "penalties", "typical", "mirostat"])
@pytest.mark.parametrize("n_probs", [None, 1])
def test_drafts_change_nothing(context: Context, grammars: Grammars, way: str, n_probs: int | None) -> None:
    schema = {
        "type": "array",
        "items": {"anyOf": [{"enum": ["the llama", "the cat"]}, {"type": "integer"}]},
        "minItems": 6,
        "maxItems": 9,
    }
    ask = guided(grammars.schema(schema), params=WAYS[way], n_probs=n_probs)
    (plain,) = fresh(context).answers([ask])
    oracle = Oracle(list(plain.tokens[0]), len(ask.prompt))
    drafting = fresh(context, Speculation(oracle))
    (drafted,) = drafting.answers([ask])
    assert drafted.tokens == plain.tokens
    assert drafted.finish.timings.draft_n_accepted > 0
    (guessed,) = fresh(context, Speculation(NgramProposer())).answers([ask])
    assert guessed.tokens == plain.tokens


def test_the_end_comes_only_where_the_grammar_allows_it(context: Context, grammars: Grammars) -> None:
    guide = grammars.lark('start: "ab" "cd"*')
    bias = tuple((token, 80.0) for token in context.model.vocab.eog_tokens)
    ends = {"temperature": 0.0, "logit_bias": bias}
    (at_once,) = fresh(context).answers([guided(guide, params=ends)])
    assert at_once.text[0] == "ab"
    goes_on = {**ends, "min_tokens": 6}
    (later,) = fresh(context).answers([guided(guide, params=goes_on)])
    assert later.text[0].startswith("abcd")
    closed = grammars.lark('start: "ab"')
    (over,) = fresh(context).answers([guided(closed, params={"ignore_eos": True, "min_tokens": 50})])
    assert over.text[0] == "ab"
    assert over.ends[0].finish_reason == "stop", "the grammar wins"


def test_a_grammar_that_ends_with_the_last_token_has_ended(context: Context, grammars: Grammars) -> None:
    guide = grammars.lark('start: "the cat sat"')
    (whole,) = fresh(context).answers([guided(guide)])
    n = len(whole.tokens[0])
    (exact,) = fresh(context).answers([guided(guide, params={"max_tokens": n})])
    assert (exact.text[0], exact.ends[0].finish_reason) == ("the cat sat", "stop")
    (cut,) = fresh(context).answers([guided(guide, params={"max_tokens": n - 1})])
    assert cut.ends[0].finish_reason == "length"
    assert cut.finish.usage.completion_tokens == n - 1


def test_long_forced_text_is_computed_in_pieces(context: Context, grammars: Grammars) -> None:
    text = "the cat sat on the mat " * 5
    guide = grammars.lark(f'start: "x" | "{text}"')
    bans = tuple(
        (token, -100.0) for token in context.model.vocab.tokenize("x", add_special=False, parse_special=False)
    )
    ask = guided(guide, params={"logit_bias": bans})
    others = [Ask(random_prompt(8, 30, 200), params={"max_tokens": 40})]
    alone = fresh(context).answers(others)
    found = fresh(context).answers([*others, ask])
    assert found[1].text[0] in (text, "x")
    assert found[0].tokens == alone[0].tokens


def test_a_matcher_at_its_limit_fails_its_own_request(context: Context, grammars: Grammars) -> None:
    hard = grammars.lark(
        "start: " + " | ".join(f"/[a-z]*{letter}[a-z]{{30}}/" for letter in "abcdefgh"),
        LLParserLimits(step_lexer_fuel=500, step_max_items=40, max_lexer_states=60, verbose_errors=False),
    )
    session = fresh(context)
    hostile = session.submit(guided(hard, params={"temperature": 1.0, "seed": 1}))
    (neighbour,) = session.answers([guided(grammars.schema(FORCED_SCHEMA))])
    assert_valid(neighbour, FORCED_SCHEMA)
    failure = session.outcomes[hostile].failure
    assert failure.kind == "invalid_request"
    assert failure.param == "response_format"
    assert "grammar" in failure.message
    assert "\n" not in failure.message


@pytest.mark.parametrize("limit", ["FOLLOWING", "MASKING"])
def test_a_grammar_that_takes_too_long_fails_its_own_request(
    context: Context, grammars: Grammars, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The computing of one answer's grammar is counted; an answer without a grammar has none."""
    free = Ask(random_prompt(8, 30, 200), params={"max_tokens": 40})
    alone = fresh(context).answers([free])
    monkeypatch.setattr(sequence_guide, limit, TimeLimit(free_s=0.0, per_token_s=0.0))
    monkeypatch.setattr(token_bans, "SLOW_S", 0.0)
    session = fresh(context)
    dear = session.submit(guided(grammars.schema(FORCED_SCHEMA), n_probs=1))
    (neighbour,) = session.answers([free])
    assert neighbour.tokens == alone[0].tokens
    failure = session.outcomes[dear].failure
    assert (failure.kind, failure.param, failure.code) == (
        "invalid_request", "response_format", "constraint_failed",
    )  # fmt: skip
    assert "ms of computing a token; the limit is 0 ms; make the grammar or schema simpler" in failure.message


@pytest.mark.parametrize("way", ["argmax", "candidates"])
def test_masks_that_are_counted_one_by_one_are_the_same(
    context: Context, grammars: Grammars, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = [
        guided(grammars.schema(schema), n, params=WAYS[way]) for n, schema in enumerate(small_schemas()[:6])
    ]
    together = fresh(context).answers(asks)
    counted: list[float] = []
    monkeypatch.setattr(
        sequence_guide.SequenceGuide, "count_mask", lambda _, seconds: counted.append(seconds)
    )
    monkeypatch.setattr(token_bans, "SLOW_S", 0.0)
    one_by_one = fresh(context).answers(asks)
    assert [each.tokens for each in one_by_one] == [each.tokens for each in together]
    assert len(counted) > 20
    assert min(counted) >= 0


def test_bans_of_all_that_is_allowed_are_the_requests_fault(context: Context, grammars: Grammars) -> None:
    vocab = context.model.vocab
    bans = tuple(
        (token, -float("inf")) for token in range(vocab.n_tokens) if vocab.piece(token) in (b"y", b"n")
    )
    ask = guided(grammars.lark('start: "y" | "n"'), params={"logit_bias": bans})
    session = fresh(context)
    name = session.submit(ask)
    session.run()
    assert session.outcomes[name].failure.param == "logit_bias"


def test_200_answers_under_40_schemas_are_valid(model: Model, grammars: Grammars) -> None:
    schemas = small_schemas()
    guides = [grammars.schema(schema) for schema in schemas]
    asks = [
        guided(guides[number % 40], number, params={"temperature": 1.0, "top_k": 0, "seed": number})
        for number in range(200)
    ]
    with f32_context(model, n_seq_max=4) as context:
        outcomes = fresh(context).answers(asks)
    for number, outcome in enumerate(outcomes):
        assert_valid(outcome, schemas[number % 40])


def test_a_free_request_has_no_work_of_guides(context: Context) -> None:
    session = fresh(context)
    session.answers([Ask(random_prompt(1, 10, 200))])
    assert not session.runner._outputs._guides  # type: ignore[attr-defined]


@pytest.mark.parametrize("n_probs", [None, 0])
@pytest.mark.parametrize("guides", [False, True])
def test_thoughts_end_at_their_budget(
    context: Context, grammars: Grammars, n_probs: int | None, guides: bool
) -> None:
    vocab = context.model.vocab
    closing = tuple(vocab.tokenize("</t>\n", add_special=False, parse_special=False))
    plan = AnswerPlan(thoughts=("<t>", "</t>"), thinks=True, budget_tokens=9, closing_tokens=closing)
    guide = (
        grammars.lark('start: thoughts "yes" /[a-z]/\nthoughts[lazy]: /(.|\\n)*<\\/t>/ "\\n"')
        if guides
        else None
    )
    bans = tuple((token, -100.0) for token in range(vocab.n_tokens) if b"<" in vocab.piece(token))
    params = {"temperature": 0.9, "seed": 3, "logit_bias": bans, "max_tokens": 60}
    ask = guided(guide, n=2, n_probs=n_probs, params=params)
    ask.plan = plan
    (outcome,) = fresh(context).answers([ask])
    for text in outcome.text.values():
        _, _, content = text.partition("</t>\n")
        assert "</t>\n" in text
        if guides:
            assert content.startswith("yes")
            assert len(content) == 4
    n_mark = len(vocab.tokenize("</t>", add_special=False, parse_special=False))
    assert 2 * 9 <= outcome.finish.usage.reasoning_tokens <= 2 * (12 + n_mark)
