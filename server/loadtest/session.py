"""`Session`: a series of loads against one server, which is probed first.

It is `corral bench` without its terminal: nothing here prints.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from models.errors import CorralError, ModelNotFound
from server.loadtest.client import Lane, LoadClient, concurrent
from server.loadtest.exchange import Capture
from server.loadtest.figures import Figures, figures_of
from server.loadtest.outcome import Outcome, outcome_of
from server.loadtest.prompts import WORDS, all_words, words
from server.loadtest.response import MalformedResponse, parse_response
from server.loadtest.target import Request, Target

TOKENS_PER_WORD = 1.33
"""A word is assumed to have this many tokens where the server doesn't count."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The form of each request.

    Prompts begin with `shared_prefix` tokens that all of one level share, and have `prompt_tokens` in all, as
    nearly as whole words allow.
    """

    model: str
    chat: bool = True
    prompt_tokens: int = 64
    output_tokens: int = 96
    shared_prefix: int = 0
    timeout_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Level:
    """A load of `n_requests`: `concurrency` under way at any time, or random arrivals, `rate` a second."""

    n_requests: int
    concurrency: int | None = None
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one level. If `interrupted`, the requests that were under way are left out."""

    level: Level
    figures: Figures
    first_error: str | None
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Lengths:
    """The tokens of a prompt of n words: `fixed` + n · `per_word`."""

    fixed: float = 0.0
    per_word: float = TOKENS_PER_WORD

    def words_for(self, n_tokens: float) -> int:
        """Return the number of words, at least 1, that have about `n_tokens`."""
        return max(1, round((n_tokens - self.fixed) / self.per_word))


class Session:
    """Loads against `target`. Make it, `probe` it, then `run` levels."""

    def __init__(self, target: Target, plan: Plan, seed: int) -> None:
        self.target = target
        self.plan = plan
        self._rng = random.Random(seed)  # noqa: S311 - words, not secrets
        self._lengths = Lengths()
        self.ignores_eos = True
        """Requests tell the server to go on to their last token, if this is true."""

    def probe(self, n_warmup: int = 0) -> None:
        """Learn how long words are and what the server accepts, then send `n_warmup` requests one by one.

        Raises CorralError with the server's words if it refuses.
        """
        one = outcome_of(self._send_one(words(1, self._rng), 1))
        if one.error is not None:
            self.ignores_eos = False  # not OpenAI's: some servers refuse what they don't know
            one = self._checked(self._send_one(words(1, self._rng), 1))
        all_ = outcome_of(self._send_one(all_words(self._rng), 1))  # may not fit a tiny context
        self._lengths = lengths_of(one.n_prompt_tokens, all_.n_prompt_tokens)
        for _ in range(n_warmup):
            prompt = words(self._lengths.words_for(self.plan.prompt_tokens), self._rng)
            self._checked(self._send_one(prompt, self.plan.output_tokens))

    def run(self, level: Level, on_end: Callable[[Capture], None]) -> Result:
        """Run one level, to its end or to the KeyboardInterrupt that ends it."""
        captures: list[Capture] = []

        def note(capture: Capture) -> None:
            captures.append(capture)
            on_end(capture)

        client = LoadClient(self.target, note, self.plan.timeout_s)
        interrupted = False
        try:
            client.run(self._lanes(level))
        except KeyboardInterrupt:
            interrupted = True
        outcomes = [outcome_of(capture) for capture in captures]
        error = next((one.error for one in outcomes if one.error is not None), None)
        return Result(level, figures_of(outcomes), error, interrupted)

    def _lanes(self, level: Level) -> list[Lane]:
        requests = self._requests(level.n_requests)
        if level.rate is None:
            return concurrent(requests, level.concurrency or 1)
        lanes, at_s = [], 0.0
        for request in requests:
            lanes.append(Lane.of(request, start_s=at_s))
            at_s += self._rng.expovariate(level.rate)  # the gaps of a Poisson process
        return lanes

    def _requests(self, n: int) -> list[Request]:
        plan = self.plan
        shared = ""
        if plan.shared_prefix:
            shared = words(self._lengths.words_for(plan.shared_prefix), self._rng) + " "
        n_own = self._lengths.words_for(plan.prompt_tokens - len(shared.split()) * self._lengths.per_word)
        return [self._request(shared + words(n_own, self._rng), plan.output_tokens) for _ in range(n)]

    def _request(self, prompt: str, max_tokens: int) -> Request:
        body: dict[str, Any] = {"model": self.plan.model, "max_tokens": max_tokens}
        if self.plan.chat:
            body["messages"] = [{"role": "user", "content": prompt}]
        else:
            body["prompt"] = prompt
        if self.ignores_eos:
            body["ignore_eos"] = True
        return self.target.stream(body)

    def _send_one(self, prompt: str, max_tokens: int) -> Capture:
        request = self._request(prompt, max_tokens)
        client = LoadClient(self.target, timeout_s=self.plan.timeout_s)
        return client.run([Lane.of(request)])[0]

    def _checked(self, capture: Capture) -> Outcome:
        outcome = outcome_of(capture)
        if outcome.error is not None:
            raise CorralError(f"the server at {self.target.url} refuses a request: {outcome.error}")
        return outcome


def lengths_of(one: int | None, all_: int | None) -> Lengths:
    """Return the lengths by the tokens of one word and of all; a guess where the server doesn't count."""
    if one is None or all_ is None or all_ <= one:
        return Lengths()
    per_word = (all_ - one) / (len(WORDS) - 1)
    return Lengths(one - per_word, per_word)


def first_model(target: Target) -> str:
    """Return the name of the first model that the server lists. Raises CorralError."""
    capture = LoadClient(target, timeout_s=30.0).run([Lane.of(target.get("/models"))])[0]
    outcome = outcome_of(capture)
    if outcome.error is not None:
        raise CorralError(f"the server at {target.url} doesn't list its models: {outcome.error}")
    try:
        document = json.loads(parse_response(b"".join(capture.pieces), closed=capture.closed).body)
        names = [str(model["id"]) for model in document["data"]]
    except (MalformedResponse, ValueError, KeyError, TypeError) as error:
        raise CorralError(
            f"the server at {target.url} lists its models in no form of OpenAI's; name one with --model"
        ) from error
    if not names:
        raise ModelNotFound(f"the server at {target.url} has no models; name one with --model")
    return names[0]


def levels_of(concurrency: list[int], rates: list[float], n_requests: int | None) -> list[Level]:
    """Return one level per rate, or if there are none per concurrency.

    By default four requests per stream, at least 8; 32 at a rate.
    """
    if rates:
        return [Level(n_requests or 32, rate=rate) for rate in rates]
    return [Level(n_requests or max(8, 4 * n), concurrency=n) for n in concurrency]
