"""The loads of the comparison: the requests, and the figures that are compared.

A load never sends the same prompt twice, in any round or to any server, except for what it is about (a prefix
that all streams of one round share).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.servers import Room
from server.loadtest.client import Lane, at_once, concurrent
from server.loadtest.figures import Quantiles, figures_of
from server.loadtest.outcome import Outcome
from server.loadtest.prompts import words
from server.loadtest.target import Target

Figures = dict[str, float]

SAMPLING = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "repeat_penalty": 1.0}
GREEDY = {"temperature": 0.0}
SHORT, LONG = "short", "long"

FIRST_TEXT_TOKEN, LAST_TEXT_TOKEN = 1000, 30000
"""These tokens of the 32k vocabulary are pieces of words."""

EDIT_BEGUN = 8
"""A prompt ends with this many tokens of its answer."""

FIRST_ANY_TOKEN, LAST_ANY_TOKEN = 300, 3900
"""These tokens are pieces of words in every vocabulary here, the demo model's of 4,096, too."""
AT_ONCE = 8
"""The streams of the loads that aren't called after their number."""


@dataclass(frozen=True, slots=True)
class Sender:
    """The requests to one server for one measurement. First tokens come after about `settle_s` seconds."""

    target: Target
    model: str
    extra: Mapping[str, Any]
    rng: random.Random
    settle_s: float = 0.0

    def body(
        self, prompt: str | list[int], max_tokens: int, sampling: Mapping[str, float] = SAMPLING
    ) -> dict[str, Any]:
        return {
            "model": self.model,
            "prompt": prompt,
            "max_tokens": max_tokens,
            "seed": self.rng.randrange(2**31),
            **sampling,
            **self.extra,
        }

    def steady_lanes(self, prompts: Sequence[str], max_tokens: int) -> list[Lane]:
        """Return `AT_ONCE` lanes that share all prompts: as one answer ends, the next prompt is sent.

        Answers are from half to one and a half times `max_tokens` long, so that they don't end together; the
        lengths and their order are always the same.
        """
        lengths = [round(max_tokens * (0.5 + i / max(1, len(prompts) - 1))) for i in range(len(prompts))]
        random.Random(len(prompts)).shuffle(lengths)
        bodies = (self.body(*one) for one in zip(prompts, lengths, strict=True))
        return concurrent([self.target.stream(body) for body in bodies], AT_ONCE)

    def lanes(self, prompts: Iterable[str], max_tokens: int) -> list[Lane]:
        """Return the captures of all prompts, sent at once."""
        return at_once([self.target.stream(self.body(prompt, max_tokens)) for prompt in prompts])


@dataclass(frozen=True, slots=True)
class Ratio:
    """Corral's figure over the peer's; the project aims at `aim`, None where the ratio only informs."""

    figure: str
    aim: float | None = None
    lower_is_better: bool = False

    def reached(self, value: float) -> bool | None:
        if self.aim is None:
            return None
        return value <= self.aim if self.lower_is_better else value >= self.aim


@dataclass(frozen=True, slots=True)
class Load:
    """One row of the comparison. If `busy`, another process computes meanwhile.

    `peers`: "llama-server" or "python-server". `edits`: it is for a model that can be made to write an edit,
    and Corral runs without speculation, too.
    """

    name: str
    title: str
    room: Room
    lanes: Callable[[Sender], list[Lane]]
    ratios: tuple[Ratio, ...]
    peers: str = "llama-server"
    busy: bool = False
    edits: bool = False
    figures: Callable[[Sequence[Outcome]], Figures] | None = None

    def figures_of(self, outcomes: Sequence[Outcome]) -> Figures:
        return (self.figures or overall)(outcomes)


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of the loads. Words are about 1.3 tokens of a 32k vocabulary, 1.6 of the demo model's."""

    prompt_words: int = 50
    tokens: int = 96
    prefix_words: int = 400
    own_words: int = 20
    prefix_tokens: int = 48
    long_words: int = 900
    long_prompts: int = 4
    long_tokens: int = 16
    short_tokens: int = 256
    edit_prompt: int = 256
    edit_every: int = 12
    edit_tokens: int = 256
    steady_requests: int = 64
    prompt_tokens: int = 2000


def overall(outcomes: Sequence[Outcome]) -> Figures:
    """Return the figures over all streams; times are in seconds."""
    statistics = figures_of(outcomes)
    figures = {
        "tokens_per_s": statistics.tokens_out_per_s,
        "total_tokens_per_s": (statistics.tokens_out + (statistics.tokens_in or 0)) / statistics.wall_s,
        "prompt_tokens": float(statistics.tokens_in or 0),
        "cached_tokens": float(statistics.tokens_cached or 0),
        "tokens": float(statistics.tokens_out),
        **_quantiles("first_token_s", statistics.first_token_s),
        **_quantiles("gap_s", statistics.gap_s),
    }
    drafts = [one.timings for one in outcomes if one.timings and one.timings.get("draft_n")]
    if drafts:
        figures["draft_n"] = float(sum(one["draft_n"] for one in drafts))
        figures["draft_n_accepted"] = float(sum(one.get("draft_n_accepted", 0) for one in drafts))
    return figures


def short_gaps(outcomes: Sequence[Outcome]) -> Figures:
    """Return the gaps of the short streams alone, and only while long prompts were under way."""
    long = [one for one in outcomes if one.label == LONG]
    begin, end = min(one.started_s for one in long), max(one.ended_s for one in long)
    gaps = [
        b - a
        for one in outcomes
        if one.label == SHORT
        for a, b in itertools.pairwise(one.text_times)
        if begin < b and a < end
    ]
    first = [one.first_token_s for one in long if one.first_token_s is not None]
    return {
        **overall(outcomes),
        **_quantiles("gap_s", Quantiles.of(gaps)),
        **_quantiles("first_token_s", Quantiles.of(first)),
    }


def _quantiles(name: str, figures: Quantiles) -> Figures:
    values = {f"{name}_p50": figures.p50, f"{name}_p99": figures.p99, f"{name}_longest": figures.longest}
    return {key: value for key, value in values.items() if value is not None}


def streams(n: int, sizes: Sizes, aim: float | None) -> Load:
    """Return a load of `n` streams that all arrive at once, each with a prompt of its own."""

    def lanes(sender: Sender) -> list[Lane]:
        return sender.lanes([words(sizes.prompt_words, sender.rng) for _ in range(n)], sizes.tokens)

    return Load(
        f"streams-{n}",
        f"{n} stream{'s' if n > 1 else ''}, {sizes.prompt_words} words in, {sizes.tokens} tokens out",
        Room(n, 512),
        lanes,
        (
            Ratio("tokens_per_s", aim),
            Ratio("first_token_s_p50", lower_is_better=True),
            Ratio("api_cpu_us", lower_is_better=True),
        ),
    )


def steady(sizes: Sizes) -> Load:
    """Return a load of many requests, 8 of them at any time."""

    def lanes(sender: Sender) -> list[Lane]:
        prompts = [words(sizes.prompt_words, sender.rng) for _ in range(sizes.steady_requests)]
        return sender.steady_lanes(prompts, sizes.tokens)

    return Load(
        "steady",
        f"{AT_ONCE} streams, steady: {sizes.steady_requests} requests, {sizes.prompt_words} words in,"
        f" {sizes.tokens} tokens out on average",
        Room(AT_ONCE, 512),
        lanes,
        (Ratio("tokens_per_s", 2.5), Ratio("first_token_s_p50", lower_is_better=True)),
    )


def prompt(sizes: Sizes) -> Load:
    """Return a load of one long prompt alone; gaps are those of tokens behind it."""

    def lanes(sender: Sender) -> list[Lane]:
        tokens = [sender.rng.randrange(FIRST_ANY_TOKEN, LAST_ANY_TOKEN) for _ in range(sizes.prompt_tokens)]
        return at_once([sender.target.stream(sender.body(tokens, sizes.long_tokens))])

    return Load(
        "prompt",
        f"one prompt of {sizes.prompt_tokens} tokens, {sizes.long_tokens} out",
        Room(1, sizes.prompt_tokens + 2 * sizes.long_tokens),
        lanes,
        (
            Ratio("first_token_s_p50", 0.5, lower_is_better=True),
            Ratio("gap_s_p50", lower_is_better=True),
            Ratio("tokens_per_s"),
        ),
    )


def prefixed(n: int, sizes: Sizes, sender: Sender) -> list[str]:
    """Return prompts that share their beginning, which is another one at each call."""
    shared = words(sizes.prefix_words, sender.rng)
    return [f"{shared} {words(sizes.own_words, sender.rng)}" for _ in range(n)]


def steady_prefix(sizes: Sizes) -> Load:
    """Return a load of many requests, 8 of them at any time, that share the beginning of their prompts."""

    def lanes(sender: Sender) -> list[Lane]:
        return sender.steady_lanes(prefixed(sizes.steady_requests, sizes, sender), sizes.prefix_tokens)

    return Load(
        "steady-prefix",
        f"{AT_ONCE} streams, steady: {sizes.steady_requests} requests, {sizes.prefix_words} shared words and"
        f" {sizes.own_words} own in, {sizes.prefix_tokens} tokens out on average",
        Room(AT_ONCE, 1024),
        lanes,
        (Ratio("tokens_per_s", 2.5), Ratio("first_token_s_p50", lower_is_better=True)),
    )


def prefix(sizes: Sizes) -> Load:
    """Return a load of 8 streams that share the beginning of their prompts, another one in each round."""

    def lanes(sender: Sender) -> list[Lane]:
        return sender.lanes(prefixed(AT_ONCE, sizes, sender), sizes.prefix_tokens)

    return Load(
        "prefix",
        f"{AT_ONCE} streams, {sizes.prefix_words} shared words and {sizes.own_words} own in,"
        f" {sizes.prefix_tokens} tokens out",
        Room(AT_ONCE, 1024),
        lanes,
        (Ratio("tokens_per_s", 2.0), Ratio("first_token_s_p50", lower_is_better=True)),
    )


def mixed(sizes: Sizes) -> Load:
    """Return a load of 4 short prompts with long answers; meanwhile long prompts follow each other."""

    def lanes(sender: Sender) -> list[Lane]:
        short = [
            sender.target.stream(
                sender.body(words(sizes.prompt_words, sender.rng), sizes.short_tokens), SHORT
            )
            for _ in range(4)
        ]
        long = [
            sender.target.stream(sender.body(words(sizes.long_words, sender.rng), sizes.long_tokens), LONG)
            for _ in range(sizes.long_prompts)
        ]
        return [*at_once(short), Lane(iter(long), start_s=sender.settle_s)]

    return Load(
        "mixed",
        f"4 streams of {sizes.short_tokens} tokens while {sizes.long_prompts} prompts of"
        f" {sizes.long_words} words arrive one after another",
        Room(5, 2048),
        lanes,
        (
            Ratio("gap_s_p99", 0.25, lower_is_better=True),
            Ratio("total_tokens_per_s", 0.95),
            Ratio("gap_s_p50", lower_is_better=True),
            Ratio("gap_s_longest", lower_is_better=True),
        ),
        figures=short_gaps,
    )


def busy(sizes: Sizes) -> Load:
    """Return a load of 8 streams while another process keeps one core busy."""
    same = streams(AT_ONCE, sizes, None)
    return Load(
        "busy",
        f"{same.title}, beside a busy process",
        same.room,
        same.lanes,
        (Ratio("tokens_per_s", 1.5), Ratio("gap_s_p99", lower_is_better=True)),
        busy=True,
    )


def python_server(sizes: Sizes) -> Load:
    """Return a load of 8 streams against llama-cpp-python's own server."""
    same = streams(AT_ONCE, sizes, None)
    return Load(
        "python-server",
        same.title,
        same.room,
        same.lanes,
        (Ratio("tokens_per_s", 4.0), Ratio("first_token_s_p50", lower_is_better=True)),
        peers="python-server",
    )


def repetitive(sizes: Sizes) -> Load:
    """Return a greedy stream that writes its prompt again, with one token in `edit_every` changed.

    It is for a model whose likeliest token after t is t + 1 (`bench.random_model`), so that the prompt
    decides the answer. It counts upwards, but for the tokens that the answer changes, then begins to count
    again.
    """

    def lanes(sender: Sender) -> list[Lane]:
        first = sender.rng.randrange(FIRST_TEXT_TOKEN, LAST_TEXT_TOKEN - sizes.edit_prompt)
        text = list(range(first, first + sizes.edit_prompt))
        for at in range(sizes.edit_every, len(text), sizes.edit_every):
            text[at] = sender.rng.randrange(FIRST_TEXT_TOKEN, LAST_TEXT_TOKEN)
        prompt = [*text, *range(first, first + EDIT_BEGUN)]
        return at_once([sender.target.stream(sender.body(prompt, sizes.edit_tokens, GREEDY))])

    return Load(
        "repetitive",
        f"1 greedy stream that writes its prompt of {sizes.edit_prompt} tokens again, one in"
        f" {sizes.edit_every} changed, {sizes.edit_tokens} tokens out",
        Room(1, 1024),
        lanes,
        (Ratio("tokens_per_s", 1.8),),
        edits=True,
    )


STREAM_AIMS: Mapping[int, float] = {1: 1.2, 4: 2.1, 8: 2.5, 16: 2.0}

OTHERS: Mapping[str, Callable[[Sizes], Load]] = {
    "steady": steady,
    "prompt": prompt,
    "steady-prefix": steady_prefix,
    "repetitive": repetitive,
    "prefix": prefix,
    "mixed": mixed,
    "busy": busy,
    "python-server": python_server,
}
NAMES = ("streams", *OTHERS)


def loads_named(names: Sequence[str], n_streams: Sequence[int], sizes: Sizes) -> list[Load]:
    """Return the loads called `names`; "streams" stands for one load per number in `n_streams`."""
    loads: list[Load] = []
    for name in names:
        if name == "streams":
            loads += [streams(n, sizes, STREAM_AIMS.get(n)) for n in n_streams]
        else:
            loads.append(OTHERS[name](sizes))
    return loads
