"""The borders of prompts: the places where later ones are likely to leave them.

The next turn of a chat has all before the opening of the answer in common with it, and the first turn of
another chat with the same instructions has these.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

import msgspec

from models.errors import RequestError
from models.llamacpp.vocab import Vocab
from server.chat.render import RenderedPrompt
from server.ipc.prompts import ChatPrompt

PROMPT_END = 4
"""A prompt whose turns aren't known has its border so many tokens before its end, which may become others
with what follows them."""


class ChatBorders:
    """Finds the borders of chats that one model's template renders. Any thread."""

    def __init__(self, vocab: Vocab, render: Callable[[ChatPrompt], RenderedPrompt]) -> None:
        self._vocab = vocab
        self._render = render

    def of(self, prompt: ChatPrompt, rendered: RenderedPrompt, tokens: list[int]) -> tuple[int, ...]:
        """Return the borders of a chat, ascending: the end of its instructions, and of its turns."""
        end = self._end_of_turns(prompt, rendered, tokens)
        borders = {self._end_of_instructions(prompt, rendered, tokens), *of_prompt(len(tokens), end)}
        return tuple(sorted(border for border in borders if border is not None and border > 0))

    def _end_of_turns(self, prompt: ChatPrompt, rendered: RenderedPrompt, tokens: list[int]) -> int | None:
        """Return the number of tokens before the opening of the answer; None: it isn't known.

        The next turn's prompt has them all, whatever its template makes of the answer.
        """
        try:
            turns = self._render(msgspec.structs.replace(prompt, add_generation_prompt=False)).text
        except RequestError:
            return None  # the template wants an answer to follow
        if turns == rendered.text or not rendered.text.startswith(turns):
            return None
        opening = self._vocab.tokenize(rendered.text[len(turns) :], add_special=False, parse_special=True)
        return len(tokens) - len(opening) if tokens[len(tokens) - len(opening) :] == opening else None

    def _end_of_instructions(
        self, prompt: ChatPrompt, rendered: RenderedPrompt, tokens: list[int]
    ) -> int | None:
        """Return the number of tokens that a first turn shares with any other question's; None: of none.

        The last of them is left out: it may become another with what follows it. A later turn goes on where
        the one before it ended.
        """
        *before, last = prompt.messages
        question = last.get("content")
        has_instructions = bool(before or prompt.tools) and all(one["role"] != "user" for one in before)
        if not (has_instructions and last["role"] == "user" and question and isinstance(question, str)):
            return None
        if prompt.images or prompt.before:
            return None  # these are tokens that the text doesn't show
        other = "1" if question.lstrip()[:1] != "1" else "2"
        messages = [*before, {**last, "content": other}]
        try:
            text = self._render(msgspec.structs.replace(prompt, messages=messages)).text
        except RequestError:
            return None
        shared = text[: _n_shared(text, rendered.text)]
        alone = self._vocab.tokenize(shared, add_special=rendered.add_bos, parse_special=True)
        return _n_shared(alone, tokens) - 1


def of_prompt(n_prompt: int, end_of_turns: int | None = None) -> tuple[int, ...]:
    """Return the border of a prompt: where its turns end, if that is known, or else before its end."""
    border = n_prompt - PROMPT_END if end_of_turns is None else end_of_turns
    return (border,) if 0 < border < n_prompt else ()


def _n_shared(one: Sequence[object], other: Sequence[object]) -> int:
    """Return the number of elements with which both begin: few comparisons, each of many at once."""
    lengths = range(1, min(len(one), len(other)) + 1)
    return bisect_left(lengths, True, key=lambda n: one[:n] != other[:n])
