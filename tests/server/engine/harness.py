"""Runs an engine over a scripted model, collects what each request got, and knows what it should have got."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from server.engine.batch import Copy, Restore, Trim
from server.engine.engine import Engine, EngineConfig
from server.engine.events import (
    ChoiceEnd,
    Delta,
    Event,
    Failure,
    Finish,
    PromptScored,
    Started,
    TokenLogprob,
)
from server.engine.images import ImageSpan
from server.engine.prefix.prefix_source import PrefixSource
from server.engine.request import EngineRequest
from server.engine.sampling_params import SamplingParams
from server.engine.sequence import Group
from server.engine.speculation.speculation import Drafting
from tests.server.engine.scripted_runner import EOG, PIECES, ScriptedRunner, next_token

_request_ids = itertools.count()
_sequence_ids = itertools.count()
_n_before = itertools.count()


@dataclass
class Outcome:
    """Everything that one request's events said."""

    text: dict[int, str] = field(default_factory=dict)
    tokens: dict[int, tuple[int, ...]] = field(default_factory=dict)
    logprobs: dict[int, tuple[TokenLogprob, ...]] = field(default_factory=dict)
    prompt_logprobs: tuple[TokenLogprob, ...] | None = None
    ends: dict[int, ChoiceEnd] = field(default_factory=dict)
    started: Started | None = None
    terminal: Finish | Failure | None = None
    n_emitted: int = 0
    """The number of tokens that its deltas counted, of all choices."""

    def take(self, event: Event) -> None:
        assert self.terminal is None, f"{event} after the terminal event {self.terminal}"
        if isinstance(event, Started):
            assert self.started is None
            self.started = event
        elif isinstance(event, Delta):
            assert self.started is not None
            assert event.index not in self.ends, "text after a choice's end"
            self.n_emitted += event.n_tokens
            self.text[event.index] = self.text.get(event.index, "") + event.text
            self.tokens[event.index] = self.tokens.get(event.index, ()) + event.tokens
            self.logprobs[event.index] = self.logprobs.get(event.index, ()) + event.logprobs
        elif isinstance(event, PromptScored):
            assert self.started is not None
            assert self.prompt_logprobs is None
            assert not self.n_emitted, "scores after tokens"
            assert not self.ends, "scores after a choice's end"
            self.prompt_logprobs = event.logprobs
        elif isinstance(event, ChoiceEnd):
            assert self.started is not None
            assert event.index not in self.ends
            self.ends[event.index] = event
        else:
            assert isinstance(event, Finish | Failure)
            self.terminal = event

    @property
    def finish(self) -> Finish:
        assert isinstance(self.terminal, Finish), self.terminal
        return self.terminal

    @property
    def failure(self) -> Failure:
        assert isinstance(self.terminal, Failure), self.terminal
        return self.terminal


class Clock:
    """A clock that moves a little with each call."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        self.now_s += 0.001
        return self.now_s

    def spend_per_token(self, seconds: float) -> Callable[[int], None]:
        """Return a `ScriptedRunner.spend` under which a step takes `seconds` for each of its tokens."""

        def spend(n_tokens: int) -> None:
            self.now_s += seconds * n_tokens

        return spend


class Harness:
    def __init__(
        self,
        runner: ScriptedRunner | None = None,
        config: EngineConfig | None = None,
        speculation: Drafting | None = None,
        clock: Clock | None = None,
        prefixes: PrefixSource | None = None,
    ) -> None:
        self.runner = ScriptedRunner() if runner is None else runner
        self.clock = Clock() if clock is None else clock
        self.engine = Engine(
            self.runner, EngineConfig() if config is None else config, self.clock, speculation, prefixes
        )
        self.outcomes: dict[str, Outcome] = {}

    def submit(self, request: EngineRequest) -> str:
        self.outcomes.setdefault(request.id, Outcome())
        self.engine.submit(request)
        return request.id

    def step(self) -> list[Event]:
        events = self.engine.step()
        for event in events:
            self.outcomes[event.id].take(event)
        self.engine.check_integrity()
        self.check_books_against_runner()
        return events

    def run(self, requests: Iterable[EngineRequest] = (), steps_max: int = 10_000) -> None:
        """Submit and step until nothing is left to do."""
        for request in requests:
            self.submit(request)
        for _ in range(steps_max):
            if not self.engine.has_work:
                break
            self.step()
        assert not self.engine.has_work, "the engine doesn't come to an end"
        assert not self.runner.samplers, "samplers leak"
        assert all(slot.owner_id is None for slot in self.engine.snapshot().slots), "slots leak"

    def check_books_against_runner(self) -> None:
        """Check that the books of each slot agree with the runner, once the next batch's changes are made."""
        held, snapshot = list(self.runner.held), self.engine.snapshot()
        for change in snapshot.memory:
            if isinstance(change, Trim):
                held[change.slot] = held[change.slot][: change.n_keep]
            elif isinstance(change, Copy):
                held[change.target] = held[change.source][: change.n_tokens]
            elif isinstance(change, Restore):
                held[change.slot] = self.runner.saved[change.key].tokens[: change.n_tokens]
        for number, (slot, tokens) in enumerate(zip(snapshot.slots, held, strict=True)):
            assert tuple(tokens) == slot.tokens, f"slot {number}"


def request(
    prompt: Iterable[int] = (0, 1, 2),
    *,
    n: int = 1,
    extra_stops: tuple[str, ...] = (),
    cache_prompt: bool = True,
    timeout_s: float | None = None,
    return_tokens: bool = False,
    echo_text: str = "",
    strip_leading_space: bool = False,
    temperature: float = 0.0,
    max_tokens: int | None = 20,
    min_tokens: int = 0,
    seed: int | None = None,
    stop: tuple[str, ...] = (),
    ignore_eos: bool = False,
    n_probs: int | None = None,
    score_prompt: bool = False,
    priority: int = 0,
    owner: str = "",
    adapters: tuple[tuple[int, float], ...] = (),
    n_keep: int | None = None,
    slot: int | None = None,
    borders: tuple[int, ...] = (),
    images: tuple[ImageSpan, ...] = (),
) -> EngineRequest:
    return EngineRequest(
        id=f"r{next(_request_ids)}",
        prompt_tokens=list(prompt),
        images=images,
        params=SamplingParams(
            temperature=temperature,
            max_tokens=max_tokens,
            min_tokens=min_tokens,
            seed=seed,
            stop=stop,
            ignore_eos=ignore_eos,
        ),
        n=n,
        extra_stops=extra_stops,
        cache_prompt=cache_prompt,
        timeout_s=timeout_s,
        return_tokens=return_tokens,
        echo_text=echo_text,
        strip_leading_space=strip_leading_space,
        n_probs=n_probs,
        score_prompt=score_prompt,
        priority=priority,
        owner=owner,
        adapters=adapters,
        n_keep=n_keep,
        slot=slot,
        borders=borders,
    )


def group_of(asked: EngineRequest, n_ctx: int = 1000) -> Group:
    """Return the group of a request that no engine has, later than all before it."""
    return Group(asked, n_ctx, 0.0, _sequence_ids, next(_n_before))


def expected_tokens(asked: EngineRequest, n_ctx: int, index: int = 0) -> list[int]:
    """Return the scripted model's tokens for a lone request without stop strings, the EOG token included."""
    params = asked.params
    held = list(asked.prompt_tokens)
    limit = n_ctx - len(held) if params.max_tokens is None else params.max_tokens
    if asked.n_keep is None:
        limit = min(limit, n_ctx - len(held))
    seed = 0 if params.temperature <= 0 else (params.seed or 0) + index
    said: list[int] = []
    while len(said) < limit:
        ban_eog = params.ignore_eos or len(said) < params.min_tokens
        token = next_token(held, seed, ban_eog=ban_eog, adapters=asked.adapters)
        said.append(token)
        held.append(token)
        if token == EOG:
            break
        if asked.n_keep is not None and len(held) >= n_ctx:
            del held[asked.n_keep : asked.n_keep + (len(held) - asked.n_keep) // 2]
    return said


def expected_text(asked: EngineRequest, n_ctx: int, index: int = 0) -> str:
    """The text of `expected_tokens`, cut at the first stop string; no character that isn't whole."""
    data = b"".join(PIECES[token] for token in expected_tokens(asked, n_ctx, index) if token != EOG)
    text = whole_characters(data)
    if asked.strip_leading_space:
        text = text.removeprefix(" ")
    return asked.echo_text + before_stop(text, (*asked.params.stop, *asked.extra_stops))


def before_stop(text: str, stops: Iterable[str]) -> str:
    """`text` up to the stop string whose end comes first; of several that end there, the longest."""
    found = [(at + len(stop), at) for stop in stops if stop and (at := text.find(stop)) >= 0]
    return text[: min(found)[1]] if found else text


def whole_characters(data: bytes) -> str:
    """All of `data` as text at once, without an unfinished character at its end."""
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(data)
    rest = data.decode("utf-8", "replace").removeprefix(text)
    assert rest.strip("\ufffd") == "", "only an unfinished character may be missing"
    return text
