"""`Lanes`: the threads that prepare requests, with own ones for short ones, grammars and images.

Tokenizing runs without the GIL, rendering, the check of grammars and the decoding of images in other
processes, so a megabyte or a grammar of seconds in one lane holds up neither the engine nor the other lanes.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from typing import Literal, TypeGuard

from server.ipc.messages import ApplyTemplate, CountTokens, Detokenize, Generate, Pool, Tokenize
from server.ipc.prompts import ChatPrompt, InfillPrompt, MixedPrompt, TextPrompt, TokenPrompt
from server.ipc.pulse import Pulse

N_THREADS = 2
"""Each lane has so many threads: one request that takes long doesn't hold up the next of its size."""

N_GRAMMAR_THREADS = 4
"""The lane of grammars has more: of those that wait for one that takes seconds, some are known already."""

SHORT = 16_384
"""A request of at most so many characters and elements is short: it takes some milliseconds."""

INSTANT = 1024
"""A text of at most so many characters is tokenized in less time than a change of threads takes."""

_MESSAGE = 64  # a message of a chat, and a tool, counts as so many characters, besides its own
_POOLED = 16  # and a text of which a vector is wanted as so many

Lane = Literal["short", "long", "grammars", "images"]

Prepared = Generate | Pool | Tokenize | Detokenize | ApplyTemplate | CountTokens


class Lanes:
    """Runs jobs in threads of its own, each lane's in their order. A job handles its own exceptions."""

    def __init__(self, pulse: Pulse | None = None) -> None:
        """`pulse` shows how long each job takes; None: nobody looks."""
        self._pulse = Pulse() if pulse is None else pulse
        self._jobs: dict[Lane, queue.SimpleQueue[Callable[[], None]]] = {
            lane: queue.SimpleQueue() for lane in ("short", "long", "grammars", "images")
        }

    def start(self) -> None:
        """Start the threads, which end with the process."""
        places = itertools.count()
        for name, jobs in self._jobs.items():
            for index in range(N_GRAMMAR_THREADS if name == "grammars" else N_THREADS):
                threading.Thread(
                    target=_work, args=(jobs, self._pulse, next(places)), name=f"{name}-{index}", daemon=True
                ).start()

    def put(self, job: Callable[[], None], lane: Lane) -> None:
        """Have `job` run after those before it in its lane."""
        self._jobs[lane].put(job)


def _work(jobs: queue.SimpleQueue[Callable[[], None]], pulse: Pulse, place: int) -> None:
    while True:
        job = jobs.get()
        pulse.begin_job(place)
        job()
        pulse.end_job(place)


def is_instant(message: Prepared) -> bool:
    """Return True if preparing it isn't worth another thread. A chat, rendered elsewhere, always is.

    So is a grammar, which is checked elsewhere.
    """
    content = message.prompt if isinstance(message, Generate | ApplyTemplate | CountTokens) else message
    if isinstance(content, ChatPrompt) or needs_grammar(message):
        return False
    return _extent(content) + _stops(message) <= INSTANT


def lane_of(message: Prepared) -> Lane:
    """Return the lane of a message that isn't instant."""
    if needs_grammar(message):
        return "grammars"
    return "short" if is_short(message) else "long"


def needs_images(message: Prepared) -> TypeGuard[Generate | CountTokens]:
    """Return True if the message has images, which must be there before it is prepared."""
    if not isinstance(message, Generate | CountTokens):
        return False
    return isinstance(message.prompt, ChatPrompt) and bool(message.prompt.images)


def needs_grammar(message: Prepared) -> bool:
    """Return True if the answer follows a grammar, which may take seconds to compile."""
    if not isinstance(message, Generate):
        return False
    tools = isinstance(message.prompt, ChatPrompt) and message.prompt.tools
    return message.constraint is not None or bool(tools)


def is_short(message: Prepared) -> bool:
    """Return True if the message takes milliseconds to prepare; looks at no more of it than it must."""
    content = message.prompt if isinstance(message, Generate | ApplyTemplate | CountTokens) else message
    if isinstance(content, ChatPrompt):
        return _is_short_chat(content) and _stops(message) <= SHORT
    return _extent(content) + _stops(message) <= SHORT


def _extent(
    content: TextPrompt | TokenPrompt | MixedPrompt | InfillPrompt | Tokenize | Detokenize | Pool,
) -> int:
    match content:
        case Pool(inputs=inputs):
            return sum(map(len, inputs.texts)) + 2 * len(inputs.pairs) + _POOLED * len(inputs.texts)
        case InfillPrompt():
            others = sum(len(text.text) + len(text.filename) for text in content.extra)
            return len(content.prefix) + len(content.suffix) + len(content.begun) + others
        case TextPrompt(text=text) | Tokenize(text=text):
            return len(text)
        case MixedPrompt():
            return sum(map(len, content.parts))
        case TokenPrompt(tokens=tokens) | Detokenize(tokens=tokens):
            return len(tokens)


def _stops(message: Prepared) -> int:
    """Return the number of characters in the stop strings, in which the names of tokens are looked for."""
    return sum(map(len, message.params.stop)) if isinstance(message, Generate) else 0


def _is_short_chat(chat: ChatPrompt) -> bool:
    size = 0
    tools = [[tool.name, tool.description, tool.parameters] for tool in chat.tools[: SHORT // _MESSAGE + 1]]
    for part in (*chat.messages[: SHORT // _MESSAGE + 1], chat.chat_template_kwargs, *tools):
        size += _MESSAGE + _size(part, SHORT - size)
        if size > SHORT:
            return False
    return True


def _size(value: object, limit: int) -> int:
    """Return the number of characters and elements in a JSON value; beyond `limit` only that it is more."""
    if isinstance(value, str):
        return len(value)
    if not isinstance(value, dict | list):
        return 1
    size = 1 + len(value)
    parts = (part for item in value.items() for part in item) if isinstance(value, dict) else iter(value)
    for part in parts:
        if size > limit:
            break
        size += _size(part, limit - size)
    return size
