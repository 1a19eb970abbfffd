"""A T5 under the real engine, in F32: each answer is that of a plain encode and decode loop."""

from __future__ import annotations

import pytest

from models.errors import LlamaCppError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.model import Model
from server.worker.run.encoder_decoder import EncoderDecoderRunner
from tests.server.worker.session import N_CTX, Session, ask, random_prompt
from tests.server.worker.t5 import t5_context, t5_greedy

pytestmark = pytest.mark.model

N_SLOTS = 3


class T5Session(Session):
    """Slots are contexts; what they hold isn't the prompt."""

    def __init__(self, model: Model, n_slots: int = N_SLOTS, chunk: int = 512) -> None:
        contexts = [t5_context(model) for _ in range(n_slots)]
        runner = EncoderDecoderRunner(contexts, N_CTX)
        runner.warm_up()
        super().__init__(
            contexts[0],
            runner=runner,
            prefill_chunk_tokens=chunk,
            prefill_tokens_alone=chunk,
        )

    def last_position(self, slot: int) -> int | None:
        return N_CTX


@pytest.mark.parametrize("chunk", [512, 7])
def test_answers_side_by_side_are_those_of_a_plain_loop(t5: Model, chunk: int) -> None:
    session = T5Session(t5, chunk=chunk)
    prompts = [random_prompt(seed, 1 + 13 * seed, session.runner.n_vocab) for seed in range(7)]
    outcomes = session.answers([ask(prompt) for prompt in prompts], steps_between=3)
    assert [list(outcome.tokens[0]) for outcome in outcomes] == [t5_greedy(t5, prompt) for prompt in prompts]


def test_a_prompt_that_goes_on_from_an_earlier_answer_is_encoded_again(t5: Model) -> None:
    session = T5Session(t5, n_slots=1)
    prompt = random_prompt(1, 40, session.runner.n_vocab)
    said = session.tokens(ask(prompt))
    longer = [*prompt, *said, 5, 6, 7]
    assert session.tokens(ask(longer)) == t5_greedy(t5, longer)
    assert session.tokens(ask(prompt)) == said == t5_greedy(t5, prompt)


def test_choices_of_one_prompt_are_alike_when_greedy(t5: Model) -> None:
    session = T5Session(t5, chunk=16)
    prompt = random_prompt(2, 50, session.runner.n_vocab)
    outcome = session.answers([ask(prompt, n=4)])[0]
    assert [list(outcome.tokens[i]) for i in range(4)] == [t5_greedy(t5, prompt)] * 4


def test_a_prompt_too_long_for_the_encoder_never_reaches_it(t5: Model) -> None:
    batch = TokenBatch(N_CTX + 1)
    batch.add_many([3] * (N_CTX + 1), 0, 0, output_last=True)
    with t5_context(t5) as context, pytest.raises(LlamaCppError, match="takes 256"):
        context.encode(batch)
