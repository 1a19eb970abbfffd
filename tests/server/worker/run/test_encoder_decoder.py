"""A T5 under the real engine, in F32: each answer is that of a plain encode and decode loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.errors import LlamaCppError, ModelLoadError, RequestError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from quantize.run.pipeline import quantize
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate, TextPrompt, Tokenize, TokenizeReply
from server.ipc.model_spec import AdapterSpec
from server.worker.adapter_set import AdapterSet
from server.worker.run.encoder_decoder import EncoderDecoderRunner, for_encoder
from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import read_golden, write_checkpoint
from tests.server.worker.client import WorkerClient
from tests.server.worker.session import N_CTX, Session, ask, random_prompt

pytestmark = pytest.mark.model

N_SLOTS = 3
N_TOKENS = 24


@pytest.fixture(scope="module")
def t5_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    family = next(family for family in ALL_FAMILIES if family.name == "flan-t5")
    golden, parent = read_golden(family), tmp_path_factory.mktemp("t5")
    checkpoint = write_checkpoint(family, parent, golden["config"], golden["tensors"])
    quantize(checkpoint, ["F32"], parent, file_name=lambda _type: "t5.gguf")
    return parent / "t5.gguf"


@pytest.fixture(scope="module")
def t5(t5_path: Path) -> Iterator[Model]:
    with Model.load(t5_path, use_extra_bufts=False) as model:
        yield model


def context_of(model: Model) -> Context:
    options = {"n_ctx": N_CTX, "n_batch": N_CTX, "n_ubatch": N_CTX, "n_threads": 1}
    return Context(model, **options, flash_attn="off", type_k="f32", type_v="f32")  # type: ignore[arg-type]


class T5Session(Session):
    """Slots are contexts; what they hold isn't the prompt."""

    def __init__(self, model: Model, n_slots: int = N_SLOTS, chunk: int = 512) -> None:
        contexts = [context_of(model) for _ in range(n_slots)]
        super().__init__(
            contexts[0],
            runner=EncoderDecoderRunner(contexts, N_CTX),
            prefill_chunk_tokens=chunk,
            prefill_tokens_alone=chunk,
        )

    def last_position(self, slot: int) -> int | None:
        return N_CTX


def plain(model: Model, prompt: list[int]) -> list[int]:
    """Greedy, by llama.cpp and nothing else."""
    said: list[int] = []
    eog = list(model.vocab.eog_tokens)
    with context_of(model) as context:
        batch = TokenBatch(N_CTX)
        batch.add_many(prompt, 0, 0, output_last=True)
        context.encode(batch)
        token = model.decoder_start_token
        assert token is not None
        for position in range(N_TOKENS):
            batch.clear()
            batch.add(token, position, 0, True)
            context.decode(batch)
            row = context.logits_row(0).copy()
            row[eog] = -np.inf
            token = int(row.argmax())
            said.append(token)
    return said


@pytest.mark.parametrize("chunk", [512, 7])
def test_answers_side_by_side_are_those_of_a_plain_loop(t5: Model, chunk: int) -> None:
    session = T5Session(t5, chunk=chunk)
    prompts = [random_prompt(seed, 1 + 13 * seed, session.runner.n_vocab) for seed in range(7)]
    outcomes = session.answers([ask(prompt) for prompt in prompts], steps_between=3)
    assert [list(outcome.tokens[0]) for outcome in outcomes] == [plain(t5, prompt) for prompt in prompts]


def test_a_prompt_that_goes_on_from_an_earlier_answer_is_encoded_anew(t5: Model) -> None:
    session = T5Session(t5, n_slots=1)
    prompt = random_prompt(1, 40, session.runner.n_vocab)
    said = session.tokens(ask(prompt))
    longer = [*prompt, *said, 5, 6, 7]
    assert session.tokens(ask(longer)) == plain(t5, longer)
    assert session.tokens(ask(prompt)) == said == plain(t5, prompt)


def test_choices_of_one_prompt_are_alike_when_greedy(t5: Model) -> None:
    session = T5Session(t5, chunk=16)
    prompt = random_prompt(2, 50, session.runner.n_vocab)
    outcome = session.answers([ask(prompt, n=4)])[0]
    assert [list(outcome.tokens[i]) for i in range(4)] == [plain(t5, prompt)] * 4


def test_a_prompt_too_long_for_the_encoder_never_reaches_it(t5: Model) -> None:
    batch = TokenBatch(N_CTX + 1)
    batch.add_many([3] * (N_CTX + 1), 0, 0, output_last=True)
    with context_of(t5) as context, pytest.raises(LlamaCppError, match="takes 256"):
        context.encode(batch)


def test_what_an_encoder_cannot_do_is_refused(t5: Model, tmp_path: Path) -> None:
    request = replace(ask([3, 4]).request(), score_prompt=True)
    with pytest.raises(RequestError, match="no probabilities of its prompt"):
        for_encoder(request, t5.vocab)
    with pytest.raises(ModelLoadError, match="adapters are for decoder models"):
        AdapterSet(t5).load(AdapterSpec(0, str(tmp_path / "adapter.gguf")))


def test_a_worker_ends_the_prompt_as_in_training_and_answers(t5: Model, t5_path: Path) -> None:
    with WorkerClient(t5_path) as client:
        assert client.ready().n_parallel == N_SLOTS
        text = "hello world"
        tokens = client.call(Tokenize(id="tokens", text=text, add_special=True), TokenizeReply).tokens
        assert tokens[-1] == t5.vocab.eos
        params = SamplingParams(temperature=0.0, max_tokens=N_TOKENS, ignore_eos=True)
        client.send(Generate(id="one", prompt=TextPrompt(text), params=params, return_tokens=True))
        answer = client.finish("one")
        assert list(answer.tokens[0]) == plain(t5, list(tokens))
        usage = answer.finish.usage
        assert (usage.prompt_tokens, usage.cached_tokens) == (len(tokens), 0)
