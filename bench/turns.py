"""The tokens computed for each turn of a chat whose template strips thoughts, beside llama-server's.

    python -m bench.turns MODEL.gguf [--llama-server BIN] [--chat-template chatml] [--answer-tokens 200]

Ten questions, each sent with all that came before. Of an answer only the content comes back with the next,
as clients do it: where a model has no thoughts, its last letters are its content. So each prompt leaves what
the slot holds right behind the last question. Printed are each prompt's tokens, those that the one before
didn't have, and those that each server computed; both get the same questions, and answer them greedily.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench import servers
from bench.servers import Room, Server, running
from server.loadtest.prompts import words

SHOWN_PART = 4
"""The content of an answer without thoughts is its last letters: one in so many."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One prompt: its tokens, and those of them that the server computed."""

    n_prompt: int
    n_computed: int


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path, help="GGUF that both servers load")
    parser.add_argument("--corral", type=Path, default=servers.INSTALLED, help="the corral to measure")
    parser.add_argument("--llama-server", type=Path, help="llama-server binary; without, Corral alone")
    parser.add_argument("--chat-template", help="one of llama.cpp's names, for models that have none")
    parser.add_argument("--corral-flags", nargs="*", default=[], help="more flags of corral serve")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--words", type=int, default=40, help="words of each question")
    parser.add_argument("--answer-tokens", type=int, default=200)
    parser.add_argument("--ctx", type=int, default=8192, help="tokens of a request")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--logs", type=Path, default=Path("bench-results/logs"), help="the servers' output")
    return parser.parse_args()


def contestants(args: argparse.Namespace) -> Iterator[Server]:
    """Yield Corral, without what earlier runs left on the disk, and llama-server, if it is there."""
    room = Room(args.slots, args.ctx)
    template = ["--chat-template", args.chat_template] if args.chat_template else []
    ours = ["--prefix-cache-gib", "0", *template, *args.corral_flags]
    yield servers.corral(args.corral, args.model, room, args.threads, flags=ours)
    if args.llama_server is not None:
        theirs = [*(["--jinja"] if not template else []), *template]
        yield servers.llama_server(
            args.llama_server, args.model, room, args.threads, unified=False, flags=theirs
        )


def content_of(message: dict[str, Any]) -> str:
    """Return what the next prompt shows of an answer."""
    content = str(message.get("content") or "")
    if message.get("reasoning_content"):
        return content or "…"
    return content[-max(1, len(content) // SHOWN_PART) :] or "…"


def turns(client: httpx.Client, server: Server, url: str, args: argparse.Namespace) -> Iterator[Turn]:
    """Yield the turns of one chat."""
    rng = random.Random(args.seed)
    messages: list[dict[str, str]] = []
    for _ in range(args.turns):
        messages.append({"role": "user", "content": words(args.words, rng)})
        body = {
            "model": args.model.stem,
            "messages": messages,
            "max_tokens": args.answer_tokens,
            "temperature": 0,
            **server.extra,
        }
        response = client.post(f"{url}/v1/chat/completions", json=body)
        response.raise_for_status()
        answer = response.json()
        usage = answer["usage"]
        n_cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        yield Turn(usage["prompt_tokens"], usage["prompt_tokens"] - n_cached)
        messages.append({"role": "assistant", "content": content_of(answer["choices"][0]["message"])})


def main() -> None:
    """Hold the chat with each server and print a line for each turn, then the sums."""
    args = parse()
    args.logs.mkdir(parents=True, exist_ok=True)
    for server in contestants(args):
        log = args.logs / f"turns.{server.name}.log"
        with running(server, log) as there, httpx.Client(timeout=600) as client:
            print(f"{server.name}, {args.model.name}\nturn  prompt    new  computed")
            n_before = n_new = n_computed = n_all = 0
            for number, turn in enumerate(turns(client, server, there.url, args), start=1):
                new = turn.n_prompt - n_before
                print(f"{number:4}{turn.n_prompt:8}{new:7}{turn.n_computed:10}", flush=True)
                n_before, n_all = turn.n_prompt, n_all + turn.n_prompt
                n_new, n_computed = n_new + new, n_computed + turn.n_computed
            print(f" all{n_all:8}{n_new:7}{n_computed:10}\n")


if __name__ == "__main__":
    main()
