"""Answers of a real model that are longer than its context: each token is what the kept text gives, cold."""

from __future__ import annotations

import pytest

from models.llamacpp.model import Model
from tests.server.worker.session import N_CTX, Ask, Session, f32_context, random_prompt

pytestmark = pytest.mark.model


@pytest.mark.parametrize("n_keep", [0, 30])
def test_an_answer_goes_on_as_the_kept_text_would_alone(model: Model, n_keep: int) -> None:
    prompt = random_prompt(3, 30, model.vocab.n_tokens)
    asks = [
        Ask(prompt, n_keep=n_keep, params={"max_tokens": 500}),
        Ask(random_prompt(4, 60, model.vocab.n_tokens), params={"max_tokens": 100}),
    ]
    with f32_context(model, n_seq_max=2) as context:
        slid, other = Session(context).answers(asks)
    assert slid.finish.usage.completion_tokens == 500
    assert slid.finish.timings.context_shifts >= 2
    said = list(slid.tokens[0])
    held = [*prompt, *said[: N_CTX - len(prompt)]]
    del held[n_keep : n_keep + (len(held) - n_keep) // 2]
    n_more = N_CTX - len(held)
    with f32_context(model) as context:
        alone = Session(context)
        (cold,) = alone.answers([Ask(held, params={"max_tokens": n_more})])
        (again,) = alone.answers([asks[1]])
    assert list(cold.tokens[0]) == said[N_CTX - len(prompt) :][:n_more]
    assert other.tokens == again.tokens
