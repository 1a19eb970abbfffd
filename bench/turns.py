"""The tokens computed for each turn of a chat whose template strips thoughts, beside llama-server's.

    python -m bench.turns MODEL.gguf [--llama-server BIN] [--transcripts plain edit …]

Questions are sent with all that came before. Of an answer only the content comes back, as clients do it:
where a model has no thoughts, its last letters are its content. So each prompt leaves what the slot holds
right behind the last question. Each of `TRANSCRIPTS` goes on in another way. Printed are each prompt's
tokens, those that no prompt before had in the same place (`new`), and those that each server computed; all
servers get the same questions, and answer them greedily.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil

from bench import servers
from bench.servers import Room, Server, running
from server.loadtest.prompts import words

SHOWN_PART = 4
"""The content of an answer without thoughts is its last letters: one in so many."""

INSTRUCTION_WORDS = 600
"""The words of a system message that chats have in common, as an agent's."""

Messages = list[dict[str, str]]
Talk = Generator[Messages | None, str, None]
"""The chats that a transcript has answered, one after the other; None restarts the server. It is sent the
answers' texts."""


@dataclass(frozen=True, slots=True)
class Questions:
    """Random questions of so many words."""

    rng: random.Random
    n_words: int

    def next(self) -> dict[str, str]:
        """Return the next question's message."""
        return {"role": "user", "content": words(self.n_words, self.rng)}


def plain(questions: Questions, n_turns: int) -> Talk:
    """Talk one question after the other."""
    chat: Messages = []
    for _ in range(n_turns):
        chat = [*chat, questions.next()]
        chat = [*chat, shown((yield chat))]


def late(questions: Questions, n_turns: int) -> Talk:
    """Show each answer whole in the next prompt, as behind a call, and without its thoughts after that."""
    chat: Messages = []
    for _ in range(n_turns // 2):
        chat = [*chat, questions.next()]
        answer = yield chat
        result = questions.next()
        said = yield [*chat, {"role": "assistant", "content": answer}, result]
        chat = [*chat, shown(answer), result, shown(said)]


def edit(questions: Questions, n_turns: int) -> Talk:
    """Put another question in the place of the last but one, each third turn, and go on from there."""
    chat: Messages = []
    for turn in range(n_turns):
        if turn % 3 == 2:
            chat = chat[:-4]
        chat = [*chat, questions.next()]
        chat = [*chat, shown((yield chat))]


def regenerate(questions: Questions, n_turns: int) -> Talk:
    """Have each question answered twice, and go on from the second answer."""
    chat: Messages = []
    for _ in range(n_turns // 2):
        chat = [*chat, questions.next()]
        yield chat
        chat = [*chat, shown((yield chat))]


def branch(questions: Questions, n_turns: int) -> Talk:
    """Ask two questions behind each answer, and go on from the first one's."""
    chat: Messages = []
    for _ in range(n_turns // 2):
        chat, other = [*chat, questions.next()], [*chat, questions.next()]
        answer = yield chat
        yield other
        chat = [*chat, shown(answer)]


def two_chats(questions: Questions, n_turns: int) -> Talk:
    """Take turns with two chats."""
    chats: list[Messages] = [[], []]
    for turn in range(n_turns):
        chat = [*chats[turn % 2], questions.next()]
        chats[turn % 2] = [*chat, shown((yield chat))]


def new_chats(questions: Questions, n_turns: int) -> Talk:
    """Begin a chat for each second question, all of them with the same instructions."""
    instructions = {"role": "system", "content": words(INSTRUCTION_WORDS, questions.rng)}
    for _ in range(n_turns // 2):
        chat = [instructions, questions.next()]
        chat = [*chat, shown((yield chat)), questions.next()]
        yield chat


def restart(questions: Questions, n_turns: int) -> Talk:
    """Restart the server in the middle."""
    chat: Messages = []
    for turn in range(n_turns):
        if turn == n_turns // 2:
            yield None
        chat = [*chat, questions.next()]
        chat = [*chat, shown((yield chat))]


def swaps(questions: Questions, n_turns: int) -> Talk:
    """Restart the server before each turn, as where another model has had the memory in between."""
    chat: Messages = []
    for turn in range(n_turns):
        if turn:
            yield None
        chat = [*chat, questions.next()]
        chat = [*chat, shown((yield chat))]


TRANSCRIPTS: dict[str, Callable[[Questions, int], Talk]] = {
    talk.__name__: talk
    for talk in (plain, late, edit, regenerate, branch, two_chats, new_chats, restart, swaps)
}


@dataclass(frozen=True, slots=True)
class Turn:
    """One prompt: its tokens, those that no prompt before had in the same place, and those computed."""

    n_prompt: int
    n_new: int
    n_computed: int

    def __add__(self, other: Turn) -> Turn:
        return Turn(
            self.n_prompt + other.n_prompt, self.n_new + other.n_new, self.n_computed + other.n_computed
        )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path, help="GGUF that both servers load")
    parser.add_argument("--corral", type=Path, default=servers.INSTALLED, help="the corral to measure")
    parser.add_argument("--llama-server", type=Path, help="llama-server binary; without, Corral alone")
    parser.add_argument("--chat-template", help="one of llama.cpp's names, for models that have none")
    parser.add_argument("--corral-flags", nargs="*", default=[], help="more flags of corral serve")
    parser.add_argument("--transcripts", nargs="*", choices=TRANSCRIPTS, default=["plain"])
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--words", type=int, default=40, help="words of each question")
    parser.add_argument("--answer-tokens", type=int, default=200)
    parser.add_argument("--ctx", type=int, default=8192, help="tokens of a request")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sums-only", action="store_true", help="no line for each turn")
    parser.add_argument("--logs", type=Path, default=Path("bench-results/logs"), help="the servers' output")
    return parser.parse_args()


def contestants(args: argparse.Namespace) -> Iterator[Server]:
    """Yield Corral and llama-server, if it is there, with their defaults."""
    room = Room(args.slots, args.ctx)
    template = ["--chat-template", args.chat_template] if args.chat_template else []
    yield servers.corral(args.corral, args.model, room, args.threads, flags=[*template, *args.corral_flags])
    if args.llama_server is not None:
        theirs = [*(["--jinja"] if not template else []), *template]
        yield servers.llama_server(
            args.llama_server, args.model, room, args.threads, unified=False, flags=theirs
        )


def shown(answer: str) -> dict[str, str]:
    """Return the message that the next prompt shows of an answer: its end, where it has thoughts nothing."""
    return {"role": "assistant", "content": answer[-max(1, len(answer) // SHOWN_PART) :] or "…"}


def n_shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the number of tokens with which both begin."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def turns(start: Callable[[], str], server: Server, talk: Talk, args: argparse.Namespace) -> Iterator[Turn]:
    """Yield the turns of one transcript. `start` starts the server, again if it runs, and returns its URL."""
    before: list[list[int]] = []
    url = start()
    with httpx.Client(timeout=600) as client:

        def ask(path: str, **body: Any) -> Any:
            response = client.post(f"{url}{path}", json={"model": args.model.stem, **body})
            response.raise_for_status()
            return response.json()

        wish = next(talk)
        while True:
            if wish is None:
                url = start()
                wish = next(talk)
                assert wish is not None
            prompt = ask("/apply-template", messages=wish)["prompt"]
            tokens = ask("/tokenize", content=prompt, add_special=True, parse_special=True)["tokens"]
            n_known = max((n_shared(tokens, each) for each in before), default=0)
            before.append(tokens)
            answer = ask(
                "/v1/chat/completions",
                messages=wish,
                max_tokens=args.answer_tokens,
                temperature=0,
                **server.extra,
            )
            usage, message = answer["usage"], answer["choices"][0]["message"]
            n_cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
            yield Turn(usage["prompt_tokens"], len(tokens) - n_known, usage["prompt_tokens"] - n_cached)
            has_thoughts = bool(message.get("reasoning_content"))
            try:
                wish = talk.send("" if has_thoughts else str(message.get("content") or ""))
            except StopIteration:
                return


def held(server: Server, name: str, args: argparse.Namespace) -> Turn:
    """Hold one transcript with a server that has seen nothing; print its lines and return their sum."""
    with ExitStack() as stack:
        home = stack.enter_context(TemporaryDirectory())
        environ = {"CORRAL_HOME": home}
        log = args.logs / f"turns.{name}.{server.name}.log"
        up = stack.enter_context(ExitStack())

        def start() -> str:
            up.close()
            return up.enter_context(running(server, log, environ=environ)).url

        talk = TRANSCRIPTS[name](Questions(random.Random(args.seed), args.words), args.turns)
        total = Turn(0, 0, 0)
        for number, turn in enumerate(turns(start, server, talk, args), start=1):
            if not args.sums_only:
                print(f"{number:4}{turn.n_prompt:8}{turn.n_new:7}{turn.n_computed:10}", flush=True)
            total += turn
    return total


def main() -> None:
    """Hold each transcript with each server and print a line for each turn, then the sums."""
    args = parse()
    args.logs.mkdir(parents=True, exist_ok=True)
    for name in args.transcripts:
        for server in contestants(args):
            print(f"{name}, {server.name}, {args.model.name}\nturn  prompt    new  computed")
            total = held(server, name, args)
            print(f" all{total.n_prompt:8}{total.n_new:7}{total.n_computed:10}\n", flush=True)


if __name__ == "__main__":
    main()
