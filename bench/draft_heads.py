"""The tokens per second of one greedy stream with heads that draft, over those without speculation.

    python -m bench.draft_heads MODEL.gguf --variant trained:"--draft HEAD.gguf" [--variant …]

All servers stand side by side and answer the same prompts one after the other, in an order that rotates from
round to round; a round's ratio is of the tokens per second over its prompts, whole requests. Answers that
differ from those without speculation are counted. The prompts are those of the demo model's held-out texts,
or of another file's paragraphs, up to "ASSISTANT:".
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil

from bench import servers
from bench.servers import Room, Running, running
from models.demo import DEMO_DIR

OFF = "--speculate off"
MARK = "ASSISTANT:"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path, help="GGUF that all servers load")
    parser.add_argument(
        "--variant", action="append", default=[], metavar="NAME:FLAGS", help="one more Corral"
    )
    parser.add_argument("--corral", type=Path, default=servers.INSTALLED, help="the corral to measure")
    parser.add_argument("--prompts", type=Path, default=DEMO_DIR / "texts" / "held_out.txt")
    parser.add_argument("--least-words", type=int, default=20, help="of the answer in the file")
    parser.add_argument("--per-round", type=int, default=6, help="prompts of a round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=256, help="of an answer at most")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--logs", type=Path, default=Path("bench-results/logs"), help="the servers' output")
    return parser.parse_args()


def prompts_of(path: Path, least_words: int, rng: random.Random) -> list[str]:
    """Return the prompts of the paragraphs with long answers, shuffled."""
    parts = [paragraph.partition(MARK) for paragraph in path.read_text(encoding="utf-8").split("\n\n")]
    found = [before + mark for before, mark, after in parts if mark and len(after.split()) >= least_words]
    rng.shuffle(found)
    return found


def answer(client: httpx.Client, server: Running, model: str, prompt: str, n_tokens: int) -> tuple[str, int]:
    """Return the greedy answer and its number of tokens."""
    body = {"model": model, "prompt": prompt, "max_tokens": n_tokens, "temperature": 0, "cache_prompt": False}
    response = client.post(f"{server.url}/v1/completions", json=body)
    response.raise_for_status()
    fields = response.json()
    return fields["choices"][0]["text"], fields["usage"]["completion_tokens"]


def main() -> None:
    """Measure, and print each variant's tokens per second, ratios and accepted share."""
    args = parse()
    args.logs.mkdir(parents=True, exist_ok=True)
    prompts = prompts_of(args.prompts, args.least_words, random.Random(args.seed))
    flags = {OFF: OFF} | dict(one.split(":", 1) for one in args.variant)
    rates: dict[str, list[float]] = {name: [] for name in flags}
    n_unlike = dict.fromkeys(flags, 0)
    with ExitStack() as stack, httpx.Client(timeout=600) as client:
        up = {}
        for name, more in flags.items():
            own = ["--prefix-cache-gib", "0", *more.split()]
            server = servers.corral(args.corral, args.model, Room(4, 1024), args.threads, name, own)
            up[name] = stack.enter_context(running(server, args.logs / f"heads.{name.strip('- ')}.log"))
        for number in range(args.rounds + 1):  # the first one warms up
            at = number * args.per_round
            batch = [prompts[i % len(prompts)] for i in range(at, at + args.per_round)]
            answers = {}
            names = list(flags)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                start_s = time.monotonic()
                answers[name] = [
                    answer(client, up[name], args.model.stem, prompt, args.tokens) for prompt in batch
                ]
                rate = sum(n for _, n in answers[name]) / (time.monotonic() - start_s)
                if number:
                    rates[name].append(rate)
            for name in flags:
                n_unlike[name] += sum(a != b for a, b in zip(answers[name], answers[OFF], strict=True))
        for name in flags:
            ratios = [mine / off for mine, off in zip(rates[name], rates[OFF], strict=True)]
            low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
            print(
                f"{name:24} {statistics.median(rates[name]):7.0f} tokens/s"
                f"   {middle:.3f} ({low:.3f} to {high:.3f})   {n_unlike[name]} answers unlike"
            )


if __name__ == "__main__":
    main()
