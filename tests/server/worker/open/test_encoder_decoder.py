"""A worker that serves a T5: what becomes of requests, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.llamacpp.model import Model
from server.engine.events import Failure
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate, LoadAdapter, Tokenize, TokenizeReply
from server.ipc.model_spec import AdapterSpec
from server.ipc.prompts import TextPrompt
from tests.server.worker.client import WorkerClient
from tests.server.worker.t5 import N_TOKENS, t5_greedy

pytestmark = pytest.mark.model


def test_what_an_encoder_cannot_do_is_refused(t5_path: Path, tmp_path: Path) -> None:
    scored = Generate(
        id="one", prompt=TextPrompt("a"), params=SamplingParams(max_tokens=2), score_prompt=True
    )
    with WorkerClient(t5_path) as client:
        client.ready()
        client.send(scored)
        assert "no probabilities of its prompt" in client.finish("one").failure.message
        load = LoadAdapter(id="two", adapter=AdapterSpec(0, str(tmp_path / "adapter.gguf")))
        assert "adapters are for decoder models" in client.call(load, Failure).message


def test_a_worker_ends_the_prompt_as_in_training_and_answers(t5: Model, t5_path: Path) -> None:
    with WorkerClient(t5_path) as client:
        assert client.ready().n_parallel == 3
        text = "hello world"
        tokens = client.call(Tokenize(id="tokens", text=text, add_special=True), TokenizeReply).tokens
        assert tokens[-1] == t5.vocab.eos
        params = SamplingParams(temperature=0.0, max_tokens=N_TOKENS, ignore_eos=True)
        client.send(Generate(id="one", prompt=TextPrompt(text), params=params, return_tokens=True))
        answer = client.finish("one")
        assert list(answer.tokens[0]) == t5_greedy(t5, list(tokens))
        usage = answer.finish.usage
        assert (usage.prompt_tokens, usage.cached_tokens) == (len(tokens), 0)
