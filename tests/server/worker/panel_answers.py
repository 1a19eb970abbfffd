"""A child process that answers requests with our matrix kernels, each alone and in other company.

`python -m tests.server.worker.panel_answers FILE KV_TYPE N_THREADS OUT` writes JSON: for each way of
computing, what every request was answered, with all digits of its logprobs. llama.cpp settles at a process's
first load where weights may lie, so this isn't done in the tests' own process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from models.errors import CorralError
from models.llamacpp import library
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.engine.batch import Batch, Output
from server.engine.speculation.ngram import NgramProposer
from server.engine.speculation.speculation import Speculation
from server.engine.speculation.step_cost import StepCost
from server.kernels.use import choose_kernels
from server.serve_options import ServeOptions
from server.worker.run.runner import LlamaRunner
from tests.server.worker.session import N_CTX, Ask, Session, random_prompt

Answers = list[dict[str, Any]]


class FreeRows(StepCost):
    """Steps of all sizes cost the same, whatever the clock says: every guess is tried, no pass is spared."""

    def estimate(self, n_tokens: int) -> float:
        return 1.0


class PaddingRunner(LlamaRunner):
    """A runner that counts the rows of nothing."""

    n_padded = 0

    def run(self, batch: Batch) -> list[Output | CorralError]:
        self.n_padded += sum(batch.pads.values())
        return super().run(batch)


def asks_of(n_vocab: int) -> list[Ask]:
    """Greedy and sampled requests, with prompts that share beginnings and texts that repeat."""
    cycle = random_prompt(2, 5, n_vocab)
    shared = random_prompt(1, 40, n_vocab)
    sampled = {"temperature": 0.8, "seed": 7, "top_k": 20}
    asks = [
        Ask(cycle * 9, params={"max_tokens": 60}),
        Ask(shared, params={"max_tokens": 30}),
        Ask([*shared, 9, 10], params={"max_tokens": 20}),
        Ask(cycle * 8, params={"max_tokens": 60, "repeat_penalty": 1.2}),
        Ask(random_prompt(3, 1, n_vocab), params={"max_tokens": 50}),
        Ask(cycle * 7, params={**sampled, "max_tokens": 40}),
        Ask(shared[:30], n=2, params={**sampled, "max_tokens": 24}),
    ]
    return [Ask(ask.prompt, ask.n, n_probs=2, params=ask.params) for ask in asks]


def main(path: str, kv_type: str, n_threads: str, out: str) -> None:
    """Answer the requests alone, in chunks, beside each other, with guesses and from the prefix cache."""
    library.load()
    choice = choose_kernels(ServeOptions(kernels="on"), is_all_on_gpu=False)
    with Model.load(path) as model:
        assert choice.report().by == "corral"
        asks = asks_of(model.vocab.n_tokens)

        def answers(
            n_slots: int, run: Callable[[Session], Answers], *, guesses: bool = False, **options: Any
        ) -> Answers:
            kv_unified = options.pop("kv_unified", False)
            with Context(
                model,
                n_ctx=N_CTX * n_slots,
                n_batch=512,
                n_seq_max=n_slots,
                n_threads=int(n_threads),
                kv_unified=kv_unified,
                flash_attn="on",
                type_k=kv_type,
                type_v=kv_type,
            ) as context:
                speculation = Speculation(NgramProposer((3, 1))) if guesses else None
                runner = PaddingRunner(context, N_CTX, can_trim=True)
                session = Session(context, speculation, runner, step_cost=FreeRows(), **options)
                found = run(session)
                for one in found:
                    one["n_padded"] = runner.n_padded
                return found

        def each(session: Session) -> Answers:
            return [one for ask in asks for one in described(session, [ask])]

        def together(session: Session) -> Answers:
            return described(session, asks)

        def twice(session: Session) -> Answers:
            each(session)
            return each(session)

        found = {
            "alone": [one for ask in asks for one in answers(2, partial(described, asks=[ask]))],
            "chunks of 7": answers(2, each, prefill_chunk_tokens=7, prefill_tokens_alone=7),
            "together": answers(8, together),
            "guesses": answers(2, each, guesses=True),
            "guesses together": answers(4, together, guesses=True),
            "prefix cache": answers(4, twice, copy_tokens_min=8),
            "shared cells": answers(4, together, kv_unified=True),
        }
    Path(out).write_text(json.dumps(found))


def described(session: Session, asks: list[Ask]) -> Answers:
    """What each request was answered, and how many guesses were right."""
    return [
        {
            "tokens": outcome.tokens,
            "logprobs": {
                index: [[one.logprob, *(top[-1] for top in one.top)] for one in logprobs]
                for index, logprobs in outcome.logprobs.items()
            },
            "n_accepted": outcome.finish.timings.draft_n_accepted,
        }
        for outcome in session.answers(asks)
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])
