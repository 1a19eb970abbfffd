"""The cost of grammars in a step, and the gain of forced tokens; one engine, no server.

    python -m bench.constraint_cost MODEL.gguf [--rounds 7] [--streams 8] [--threads 2] [--kernels off]

Free and constrained answers alternate in rounds of one process; the ratios of a round are of neighbours in
time. `step`: the time of a step of constrained rows to that of free ones, where nothing is forced (an array
of any strings). `rate`: the tokens per second of records with long, forced names to those of a free
answer. A model of random weights does: `bench.random_model`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.llamacpp.context import Context
from models.llamacpp.model import Model
from server.engine.engine import Engine, EngineConfig
from server.engine.events import Finish
from server.engine.request import EngineRequest
from server.engine.sampling_params import SamplingParams
from server.ipc.constraint import Constraint
from server.kernels.use import choose_kernels
from server.serve_options import ServeOptions
from server.worker.constraints.compiler import CompiledGrammar, ConstraintCompiler
from server.worker.open.warm_up import warm_up
from server.worker.run.runner import LlamaRunner

N_CTX = 512
PROMPT = list(range(100, 132))
STRINGS = {"type": "array", "items": {"type": "string", "minLength": 400}, "minItems": 2}
RECORD: dict[str, Any] = {
    "type": "array",
    "minItems": 40,
    "items": {
        "type": "object",
        "properties": {
            "identifier_of_the_customer": {"type": "integer", "minimum": 0, "maximum": 99999},
            "preferred_language_of_contact": {"enum": ["english", "french", "german", "spanish"]},
            "has_confirmed_the_newsletter": {"type": "boolean"},
            "number_of_orders_this_year": {"type": "integer", "minimum": 0, "maximum": 999},
        },
        "required": [
            "identifier_of_the_customer",
            "preferred_language_of_contact",
            "has_confirmed_the_newsletter",
            "number_of_orders_this_year",
        ],
        "additionalProperties": False,
    },
}
_ids = itertools.count()


@dataclass(frozen=True, slots=True)
class Run:
    """The answers of some streams side by side: the median step in seconds, and tokens per second."""

    step_s: float
    rate: float


def run(engine: Engine, guide: CompiledGrammar | None, n_streams: int, n_tokens: int) -> Run:
    """Generate `n_tokens` on each stream; only steps in which all of them generate count as steps."""
    for stream in range(n_streams):
        params = SamplingParams(seed=stream, max_tokens=n_tokens, ignore_eos=True)
        tokens = [*PROMPT, 200 + stream]
        engine.submit(EngineRequest(id=f"r{next(_ids)}", prompt_tokens=tokens, params=params, guide=guide))
    while engine.n_waiting:
        engine.step()
    steps: list[float] = []
    n_generated = 0
    begin = time.perf_counter()
    while engine.has_work:
        whole = engine.n_running == n_streams
        start = time.perf_counter()
        events = engine.step()
        if whole:
            steps.append(time.perf_counter() - start)
        n_generated += sum(event.usage.completion_tokens for event in events if isinstance(event, Finish))
    return Run(statistics.median(steps or [0.0]), n_generated / (time.perf_counter() - begin))


def main(argv: list[str] | None = None) -> int:
    """Print the ratios of each round and their medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--kernels", choices=["auto", "on", "off"], default="auto")
    options = parser.parse_args(argv)
    choice = choose_kernels(ServeOptions(kernels=options.kernels), is_all_on_gpu=False)
    with Model.load(options.model) as model:
        print(choice.report().text)
        compiler = ConstraintCompiler(model.vocab)
        strings, record = (
            compiler.compile(Constraint(kind="json_schema", text=json.dumps(schema), param="schema"))
            for schema in (STRINGS, RECORD)
        )
        compiler.close()
        with Context(
            model,
            n_ctx=N_CTX * options.streams,
            n_seq_max=options.streams,
            n_threads=options.threads,
            n_threads_batch=options.threads,
        ) as context:
            can_trim = warm_up(context, N_CTX).can_trim
            engine = Engine(LlamaRunner(context, N_CTX, can_trim=can_trim), EngineConfig())
            measure(engine, strings, record, options)
    return 0


def measure(
    engine: Engine, strings: CompiledGrammar, record: CompiledGrammar, options: argparse.Namespace
) -> None:
    """Run the rounds on an open engine."""
    for guide in (None, strings, record):
        run(engine, guide, options.streams, 8)
    step_ratios: list[float] = []
    rate_ratios: list[float] = []
    for number in range(options.rounds):
        pair = {
            guide: run(engine, guide, options.streams, options.tokens) for guide in _order(number, strings)
        }
        step_ratios.append(pair[strings].step_s / pair[None].step_s)
        single = {guide: run(engine, guide, 1, 2 * options.tokens) for guide in _order(number, record)}
        rate_ratios.append(single[record].rate / single[None].rate)
        print(
            f"round {number + 1}: step {1e3 * pair[None].step_s:.1f} ms free, "
            f"{1e3 * pair[strings].step_s:.1f} ms constrained, {step_ratios[-1]:.3f}; "
            f"{single[None].rate:.0f} tokens/s free, {single[record].rate:.0f} with forced tokens, "
            f"{rate_ratios[-1]:.2f}",
            flush=True,
        )
    print(f"medians: step {statistics.median(step_ratios):.3f}, rate {statistics.median(rate_ratios):.2f}")


def _order(number: int, guide: CompiledGrammar) -> list[CompiledGrammar | None]:
    """Return both kinds, the other one first in every second round."""
    return [None, guide] if number % 2 else [guide, None]


if __name__ == "__main__":
    sys.exit(main())
