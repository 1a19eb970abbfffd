"""First tokens of one key alone and beside another's 64 streams: `python -m bench.fair_share URL`.

`CORRAL_FLOOD_KEY` and `CORRAL_ONE_KEY` in the environment hold the two keys of the running server; without
them all requests are one owner's, which shows what the shares are worth. Rounds alternate, so that whatever
else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import os
import random
from statistics import median

from server.loadtest.client import Lane, LoadClient
from server.loadtest.outcome import outcome_of
from server.loadtest.prompts import words
from server.loadtest.target import Request, Target

FLOOD_BEFORE_S = 1.0
"""The flood runs for so many seconds when the one request comes."""


def first_token_s(flood: Target, one: Target, n_streams: int, n_words: int, rng: random.Random) -> float:
    """Return the seconds to the first token of one request beside `n_streams` of the flood."""
    lanes = [Lane.of(_request(flood, "flood", 40, 256, rng)) for _ in range(n_streams)]
    start_s = FLOOD_BEFORE_S if n_streams else 0.0
    lanes.append(Lane.of(_request(one, "one", n_words, 8, rng), start_s=start_s))
    outcomes = [outcome_of(capture) for capture in LoadClient(one).run(lanes)]
    [found] = [outcome for outcome in outcomes if outcome.label == "one"]
    if found.error is not None or found.first_token_s is None:
        raise SystemExit(f"the one request failed: {found.error}")
    still_there = sum(outcome.ended_s > found.started_s + found.first_token_s for outcome in outcomes) - 1
    if n_streams and not still_there:
        raise SystemExit("the flood had ended before the one request had its first token")
    return found.first_token_s


def _request(target: Target, label: str, n_words: int, max_tokens: int, rng: random.Random) -> Request:
    body = {"prompt": words(n_words, rng), "max_tokens": max_tokens, "ignore_eos": True}
    return target.stream(body, label)


def main() -> None:
    """Print the median first token alone and in the flood for each length of a prompt, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--words", type=int, nargs="+", default=[40, 300])
    given = parser.parse_args()
    flood = Target.find(given.url, os.environ.get("CORRAL_FLOOD_KEY"))
    one = Target.find(given.url, os.environ.get("CORRAL_ONE_KEY"))
    rng = random.Random()
    first_token_s(flood, one, given.streams, 40, rng)
    for n_words in given.words:
        alone, beside = [], []
        for _ in range(given.rounds):
            alone.append(first_token_s(flood, one, 0, n_words, rng))
            beside.append(first_token_s(flood, one, given.streams, n_words, rng))
        ratio = median(beside) / median(alone)
        print(
            f"{n_words} words: alone {median(alone) * 1e3:.0f} ms, beside {given.streams} streams "
            f"{median(beside) * 1e3:.0f} ms, {ratio:.2f} times; all: "
            f"{' '.join(f'{s * 1e3:.0f}' for s in alone)} / {' '.join(f'{s * 1e3:.0f}' for s in beside)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
