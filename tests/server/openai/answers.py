"""Events for the tests of answers, and their parts of an answer."""

from __future__ import annotations

from server.engine.events import ChoiceEnd, Delta, Finish, Started, Timings, TokenLogprob, Usage
from server.openai.heading import Heading, Kind

STARTED = Started(id="x", prompt_tokens=7, cached_tokens=3)
FINISH = Finish(
    id="x",
    usage=Usage(prompt_tokens=7, completion_tokens=2, cached_tokens=3),
    timings=Timings(queue_ms=0.5, prompt_n=4, prompt_ms=2.0, predicted_n=2, predicted_ms=10.0),
)
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 2,
    "total_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
TIMINGS = {
    "cache_n": 3,
    "prompt_n": 4,
    "prompt_ms": 2.0,
    "prompt_per_token_ms": 0.5,
    "prompt_per_second": 2000.0,
    "predicted_n": 2,
    "predicted_ms": 10.0,
    "predicted_per_token_ms": 5.0,
    "predicted_per_second": 200.0,
    "queue_ms": 0.5,
}


def delta(
    text: str,
    index: int = 0,
    tokens: tuple[int, ...] = (),
    logprobs: tuple[TokenLogprob, ...] = (),
    n_tokens: int = 1,
    *,
    is_prompt: bool = False,
) -> Delta:
    return Delta(
        id="x",
        index=index,
        text=text,
        n_tokens=0 if is_prompt else n_tokens,
        tokens=tokens,
        logprobs=logprobs,
        is_prompt=is_prompt,
    )


def end(index: int = 0) -> ChoiceEnd:
    return ChoiceEnd(id="x", index=index, finish_reason="stop")


def heading(kind: Kind = "chat", n_choices: int = 1) -> Heading:
    return Heading(kind=kind, id="id", created=5, model="demo", n_choices=n_choices)
