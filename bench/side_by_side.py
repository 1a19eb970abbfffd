"""Corral beside llama-server and llama_cpp.server on the same llama.cpp: interleaved, medians of ratios.

    python -m bench.side_by_side --model MODEL.gguf --llama-server BIN --peer-python PY [--streams 1 4 8] …

In each round every server gets the same load, in an order that rotates from round to round, with prompts
never seen before. A round's ratio is Corral's figure over the peer's in that round, so that a slow minute
of the machine weighs on both sides. A measurement that something else disturbed (other processes took CPU
time while it ran) is counted in the report, never dropped.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from bench import servers
from bench.client import LoadResult, run_load

WORDS = """
river stone light paper window garden silver morning winter letter market bridge yellow forest music
summer table water green house night story bread horse cloud field glass road ship storm island
mountain valley cotton copper engine signal harbor candle mirror basket ladder shadow ribbon marble
orchard lantern meadow
""".split()  # noqa: SIM905

DISTURBED = 0.05
"""A share of the machine in other hands above which a measurement counts as disturbed."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One server in one round."""

    round: int
    streams: int
    server: str
    tokens_per_s: float
    first_token_s: float
    gap_s: float
    prompt_tokens: int | None
    tokens: int
    foreign_cpu: float
    """Share of all cores used meanwhile by processes other than the servers and this one."""


def prompt(n_words: int, rng: random.Random) -> str:
    """A prompt nobody has seen before."""
    return " ".join(rng.choice(WORDS) for _ in range(n_words))


def bodies(args: argparse.Namespace, streams: int, rng: random.Random) -> list[dict[str, Any]]:
    """The requests of one load. EOS is banned where the server understands it, so that lengths are equal."""
    return [
        {
            "model": args.model_name,
            "prompt": prompt(args.prompt_words, rng),
            "max_tokens": args.tokens,
            "temperature": args.temperature,
            "seed": rng.randrange(2**31),
            "ignore_eos": True,
            "logit_bias": {str(token): -100 for token in args.eos},
        }
        for _ in range(streams)
    ]


def own_cpu_seconds() -> float:
    """CPU time used so far by this process and all below it: the client and every server it started."""
    process = psutil.Process()
    times = [member.cpu_times() for member in [process, *process.children(recursive=True)]]
    return sum(t.user + t.system for t in times)


def busy_seconds() -> float:
    """CPU time used so far by the whole machine."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def measure(url: str, requests: list[dict[str, Any]]) -> tuple[LoadResult, float]:
    """Run one load; also the share of the machine that others took meanwhile."""
    ours, all_, start = own_cpu_seconds(), busy_seconds(), time.perf_counter()
    result = run_load(url, requests)
    elapsed = time.perf_counter() - start
    foreign = (busy_seconds() - all_) - (own_cpu_seconds() - ours)
    return result, max(0.0, foreign / (elapsed * (psutil.cpu_count() or 1)))


def run(args: argparse.Namespace) -> list[Measurement]:
    """All rounds of all stream counts; servers of one stream count live side by side and idle in turn."""
    rng = random.Random(args.seed)
    found: list[Measurement] = []
    for streams in args.streams:
        candidates = [servers.corral(args.model, streams, args.ctx, args.threads)]
        candidates += [
            servers.llama_server(
                args.llama_server, args.model, streams, args.ctx, args.threads, unified=unified
            )
            for unified in (False, True)
        ]
        if args.peer_python is not None:
            candidates.append(
                servers.llama_cpp_python_server(args.peer_python, args.model, args.ctx, args.threads)
            )
        with ExitStack() as stack:
            urls = {
                c.name: stack.enter_context(
                    servers.running(c, args.logs / f"{c.name.replace(' ', '')}-{streams}.log")
                )
                for c in candidates
            }
            for name, url in urls.items():
                run_load(url, bodies(args, 1, rng))
                print(f"{name}: warm", file=sys.stderr)
            for round_ in range(args.rounds):
                order = candidates[round_ % len(candidates) :] + candidates[: round_ % len(candidates)]
                for candidate in order:
                    result, foreign = measure(urls[candidate.name], bodies(args, streams, rng))
                    one = Measurement(
                        round_,
                        streams,
                        candidate.name,
                        result.tokens_per_s,
                        result.first_token_s,
                        result.gap_s,
                        result.streams[0].n_prompt_tokens,
                        sum(s.n_generated for s in result.streams),
                        foreign,
                    )
                    found.append(one)
                    print(
                        f"round {round_} · {streams} streams · {candidate.name}: "
                        f"{one.tokens_per_s:.1f} tok/s, first token {one.first_token_s * 1000:.0f} ms, "
                        f"gap {one.gap_s * 1000:.1f} ms, "
                        f"others {one.foreign_cpu:.0%}",
                        file=sys.stderr,
                    )
                    time.sleep(args.pause)
    return found


def spread(values: list[float], digits: int = 2) -> str:
    """Median and range as text."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def report(found: list[Measurement]) -> str:
    """The Markdown table: medians per server and the ratios Corral ÷ server, round by round."""
    lines = [
        "| streams | server | tok/s | first token, ms | token gap, ms | Corral ÷ it: tok/s | first token |",
        "| --: | --- | --: | --: | --: | --: | --: |",
    ]
    for streams in sorted({m.streams for m in found}):
        here = [m for m in found if m.streams == streams]
        ours = {m.round: m for m in here if m.server == "corral"}
        for name in dict.fromkeys(m.server for m in here):
            mine = [m for m in here if m.server == name]
            speed = [ours[m.round].tokens_per_s / m.tokens_per_s for m in mine]
            first = [ours[m.round].first_token_s / m.first_token_s for m in mine]
            ratios = "– | –" if name == "corral" else f"{spread(speed)} | {spread(first)}"
            lines.append(
                f"| {streams} | {name} | {statistics.median(m.tokens_per_s for m in mine):.1f} "
                f"| {statistics.median(m.first_token_s for m in mine) * 1000:.0f} "
                f"| {statistics.median(m.gap_s for m in mine) * 1000:.1f} | {ratios} |"
            )
    return "\n".join(lines)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Corral beside its peers, interleaved")
    parser.add_argument("--model", type=Path, required=True, help="GGUF that all servers load")
    parser.add_argument("--llama-server", type=Path, required=True, help="llama-server binary")
    parser.add_argument("--peer-python", type=Path, help="Python with llama-cpp-python[server]")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt-words", type=int, default=50, help="about 64 tokens of a 32k vocabulary")
    parser.add_argument("--tokens", type=int, default=96, help="tokens to generate per stream")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--eos", type=int, nargs="*", default=[2], help="token ids that must not come")
    parser.add_argument("--ctx", type=int, default=512, help="context per stream, tokens")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between loads")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the prompts")
    parser.add_argument(
        "--logs", type=Path, default=Path("bench-logs"), help="folder for the servers' output"
    )
    parser.add_argument("--json", type=Path, help="write every measurement here")
    args = parser.parse_args(arguments)
    args.model = args.model.resolve()
    args.model_name = args.model.stem
    args.logs.mkdir(parents=True, exist_ok=True)
    return args


def main() -> int:
    args = parse()
    found = run(args)
    if args.json is not None:
        machine = {"platform": platform.platform(), "cores": psutil.cpu_count(), "seed": args.seed}
        args.json.write_text(
            json.dumps({"machine": machine, "measurements": [asdict(m) for m in found]}, indent=1)
        )
    print(report(found))
    disturbed = sum(m.foreign_cpu > DISTURBED for m in found)
    print(f"\n{disturbed} of {len(found)} measurements had other work (over {DISTURBED:.0%}) beside them.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
