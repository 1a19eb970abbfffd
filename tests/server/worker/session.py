"""An engine on a real model in F32, and what it answers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.engine.answer_plan import AnswerPlan
from server.engine.engine import Engine, EngineConfig
from server.engine.request import EngineRequest
from server.engine.runner import ModelRunner
from server.engine.sampling_params import SamplingParams
from server.engine.speculation.speculation import Drafting
from server.engine.speculation.step_cost import StepCost
from server.worker.open.warm_up import warm_up
from server.worker.run.runner import LlamaRunner, RunnerParts
from tests.server.engine.harness import Outcome

N_CTX = 256
NO_PARTS = RunnerParts()
_ids = itertools.count()


def f32_context(
    model: Model,
    *,
    n_seq_max: int = 1,
    n_cells: int | None = None,
    kv_unified: bool = False,
    swa_full: bool = True,
) -> Context:
    """F32 throughout and no flash attention, which computes in F16: so what else is in a batch changes only
    the last bits of a logit. `n_cells`: of the whole KV cache."""
    return Context(
        model,
        n_ctx=N_CTX * n_seq_max if n_cells is None else n_cells,
        n_batch=128,
        n_ubatch=64,
        n_seq_max=n_seq_max,
        n_threads=1,
        kv_unified=kv_unified,
        swa_full=swa_full,
        flash_attn="off",
        type_k="f32",
        type_v="f32",
    )


def random_prompt(seed: int, length: int, n_vocab: int) -> list[int]:
    random = np.random.Generator(np.random.PCG64(seed))
    return [int(token) for token in random.integers(3, n_vocab, length)]


@dataclass
class Ask:
    """A request, without the id that makes it one of a kind."""

    prompt: list[int]
    n: int = 1
    cache_prompt: bool = True
    n_probs: int | None = None
    score_prompt: bool = False
    n_keep: int | None = None
    guide: object | None = None
    plan: AnswerPlan | None = None
    params: dict[str, Any] = field(default_factory=dict)

    def request(self) -> EngineRequest:
        options = {"temperature": 0.0, "max_tokens": 24, "ignore_eos": True, **self.params}
        return EngineRequest(
            id=f"ask{next(_ids)}",
            prompt_tokens=self.prompt,
            params=SamplingParams(**options),
            n=self.n,
            cache_prompt=self.cache_prompt,
            n_probs=self.n_probs,
            score_prompt=self.score_prompt,
            n_keep=self.n_keep,
            guide=self.guide,
            plan=self.plan,
            return_tokens=True,
        )


def ask(prompt: list[int], *, n: int = 1, cache_prompt: bool = True, **params: Any) -> Ask:
    """An `Ask` with its sampling parameters by keyword."""
    return Ask(prompt, n, cache_prompt, params=params)


def open_runner(context: Context, parts: RunnerParts = NO_PARTS) -> LlamaRunner:
    """A runner on a context that is warm."""
    return LlamaRunner(context, N_CTX, can_trim=warm_up(context, N_CTX).can_trim, parts=parts)


class Session:
    """Submits, steps, checks the books after each step: also that the slots hold what they should."""

    def __init__(
        self,
        context: Context,
        speculation: Drafting | None = None,
        runner: ModelRunner | None = None,
        parts: RunnerParts = NO_PARTS,
        step_cost: StepCost | None = None,
        **config: Any,
    ) -> None:
        self.context = context
        self.runner = runner or open_runner(context, parts)
        self.engine = Engine(
            self.runner, EngineConfig(**config), speculation=speculation, step_cost=step_cost
        )
        self.outcomes: dict[str, Outcome] = {}

    def submit(self, ask: Ask) -> str:
        request = ask.request()
        self.outcomes[request.id] = Outcome()
        self.engine.submit(request)
        return request.id

    def step(self) -> None:
        for event in self.engine.step():
            self.outcomes[event.id].take(event)
        self.engine.check_integrity()
        for slot in self.engine._cache.slots:
            last = self.last_position(slot.id)
            assert slot.n_held <= (0 if last is None else last + 1)

    def last_position(self, slot: int) -> int | None:
        """The largest position that a slot holds."""
        return self.context.seq_pos_max(slot)

    def run(self) -> None:
        while self.engine.has_work:
            self.step()

    def answers(self, asks: Iterable[Ask], *, steps_between: int = 0) -> list[Outcome]:
        """Submit all, with some steps between, and run to the end."""
        names = []
        for ask in asks:
            names.append(self.submit(ask))
            for _ in range(steps_between):
                self.step()
        self.run()
        outcomes = [self.outcomes[name] for name in names]
        assert all(outcome.finish for outcome in outcomes)
        return outcomes

    def tokens(self, ask: Ask) -> list[int]:
        """Its first choice's."""
        return list(self.answers([ask])[0].tokens[0])


def alone(model: Model, ask: Ask) -> Outcome:
    """Cold, with nothing before or beside it, its prompt in one piece (of up to 64 tokens)."""
    with f32_context(model) as context:
        return Session(context).answers([ask])[0]
