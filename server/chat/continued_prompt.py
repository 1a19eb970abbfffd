"""The prompt that ends with an answer's first words, so that the model continues the answer. Pure.

A template for reasoning models opens a block of thoughts in front of an answer, and words put there would be
thoughts. So what stands between the chat and the words is learned from the template itself: it writes the
answer as a finished message, with marks for thoughts and content, and the prompt is cut at the mark. Where
the generation prompt opens a block that a finished message doesn't show, the block is closed as it was
opened.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from models.errors import RequestError
from server.chat.begun_answer import BegunAnswer
from server.chat.message_changes import SYSTEM_ROLES, Message, Messages
from server.chat.thought_blocks import THOUGHT_BLOCKS, THOUGHT_NAMES, has_thoughts

Render = Callable[..., str]
"""Renders messages, given with `add_generation_prompt`, and with `thinking` where it is to be on or off."""

_ENDING = 1_000
"""A generation prompt is shorter than this many characters."""

# Digits stand for thoughts and content where the form is learned: no filter of a template changes them.
_THOUGHTS, _WORDS = (str(10**19 + secrets.randbelow(9 * 10**19)) for _ in range(2))


@dataclass(frozen=True)
class _Block:
    """A block of thoughts in the ending of a prompt, which may still be open."""

    head: str
    """The prompt up to the block's beginning, that included."""
    inside: str
    closing: str
    """The mark of the block's end."""
    tail: str | None
    """The text behind that mark; None while the block is open."""

    def thoughts(self, reasoning: str) -> str:
        """Return the prompt in which the model continues these thoughts."""
        return self.head + self._line_end + reasoning

    def answer(self, reasoning: str) -> str:
        """Return the prompt in which these thoughts have ended and the answer begins."""
        tail = self._line_end * 2 if self.tail is None else self.tail
        return self.thoughts(reasoning) + self._line_end + self.closing + tail

    @property
    def _line_end(self) -> str:
        return "\n" if "\n" in self.inside else ""


class _Forms:
    """The forms in which a template writes the answer to one chat, each rendered when it is needed."""

    def __init__(self, chat: Messages, render: Render, source: str) -> None:
        self._chat, self._render, self._source = chat, render, source

    @cached_property
    def opening(self) -> str:
        """The chat with the generation prompt."""
        return self._render(self._chat, add_generation_prompt=True)

    @cached_property
    def with_thoughts(self) -> tuple[str, str] | None:
        """The text before the thoughts of a finished answer, and that between them and the content."""
        return self._thoughts_shown({})

    @cached_property
    def with_thoughts_on(self) -> tuple[str, str] | None:
        """The same where the request turns thinking off, and its answer has thoughts nevertheless."""
        return self._thoughts_shown({"thinking": True})

    def _thoughts_shown(self, mode: dict[str, bool]) -> tuple[str, str] | None:
        if not any(name in self._source for name in THOUGHT_NAMES):
            return None
        thoughts = dict.fromkeys(THOUGHT_NAMES, _THOUGHTS)
        parts = [{"type": "thinking", "thinking": _THOUGHTS}, {"type": "text", "text": _WORDS}]
        fields: list[Message] = [{"content": _WORDS, **thoughts}]
        if "'thinking'" in self._source or '"thinking"' in self._source:
            fields.append({"content": parts})
        for field in fields:
            text = self._finished(field, mode)
            at, end = text.rfind(_THOUGHTS), text.rfind(_WORDS)
            if 0 <= at < end:
                return text[:at], text[at + len(_THOUGHTS) : end]
        return None

    @cached_property
    def before_content(self) -> str | None:
        """The text before the content of a finished answer without thoughts; None where it isn't shown."""
        text = self._finished({"content": _WORDS}, {})
        at = text.rfind(_WORDS)
        return None if at < 0 else text[:at]

    @cached_property
    def thinks_at_once(self) -> bool:
        """True if the generation prompt ends inside thoughts."""
        if self.with_thoughts is not None and self.opening.rstrip() == self.with_thoughts[0].rstrip():
            return True
        block = self.block(self.opening)
        return block is not None and block.tail is None

    def block(self, prompt: str) -> _Block | None:
        """Return the last block of thoughts that a prompt has behind the chat's own text."""
        if not has_thoughts(prompt[-_ENDING:]):
            return None
        begin = self._end_of_chat(prompt)
        for opening, closing in THOUGHT_BLOCKS:
            at = prompt.rfind(opening, begin)
            if at >= 0 and not self._is_of_the_chat(prompt, opening):
                head, rest = prompt[: at + len(opening)], prompt[at + len(opening) :]
                inside, found, tail = rest.partition(closing)
                return _Block(head, inside, closing, tail if found else None)
        return None

    def shows_none(self) -> bool:
        """Return True if a finished answer without thoughts has an empty block of them."""
        block = None if self.before_content is None else self.block(self.before_content)
        return block is not None and block.tail is not None and not block.inside.strip()

    def closes_thoughts(self) -> bool:
        """True if the generation prompt ends a block of thoughts, so that the model answers at once."""
        ending = self.opening[self._end_of_chat(self.opening) :]
        return any(closing in ending for _, closing in THOUGHT_BLOCKS)

    def prompts(self) -> Iterator[str]:
        """Yield the prompts that may hold a block of thoughts, the nearest first."""
        yield self.opening
        if self.before_content is not None:
            yield self.before_content
        without_thinking = self._render(self._chat, add_generation_prompt=True, thinking=False)
        bare = self._render(self._chat, add_generation_prompt=False, thinking=False)
        ending = without_thinking[_common_length(without_thinking, bare) :]
        # Command R7B's writes the opening always.
        yield self._without_opening + ending if ending else without_thinking

    def _end_of_chat(self, prompt: str) -> int:
        """Return the place where the chat's own text ends in a prompt."""
        end = _common_length(prompt, self._without_opening)
        if end < len(prompt) or not self._chat:
            return end
        # The template writes the opening always. System text may stand before all other.
        last = [self._chat[-1], *(m for m in reversed(self._chat) if m["role"] not in SYSTEM_ROLES)][:2]
        words = [(message.get("content") or "").strip() for message in last]
        return max(max(prompt.rfind(text), 0) + len(text) for text in words)

    def _is_of_the_chat(self, prompt: str, mark: str) -> bool:
        """Return True if the mark stands in the chat's own text: without an opening it is there as often."""
        bare = self._without_opening
        return prompt != bare and prompt.count(mark) <= bare.count(mark)

    @cached_property
    def _without_opening(self) -> str:
        return self._render(self._chat, add_generation_prompt=False)

    def _finished(self, fields: Message, mode: dict[str, bool]) -> str:
        """Return the chat with a finished answer; "" where the template refuses one."""
        try:
            answer = {"role": "assistant", **fields}
            return self._render([*self._chat, answer], add_generation_prompt=False, **mode)
        except RequestError:
            return ""


def continued_prompt(chat: Messages, answer: BegunAnswer, render: Render, source: str) -> str:
    """Return the prompt of `chat` that ends with the answer's words; `source` is the template's text.

    Raises RequestError where the template refuses the chat, or has no place for thoughts that are to be
    continued. Thoughts in front of an answer are left out by a template that knows none.
    """
    forms = _Forms(chat, render, source)
    unpacked = _unpacked(answer, source)
    has_thoughts_of_its_own = unpacked.thinks or bool(unpacked.reasoning)
    if has_thoughts_of_its_own or (forms.thinks_at_once and not forms.shows_none()):
        start = _after_thoughts(forms, unpacked)
        if start is not None:
            return start + unpacked.content
    if answer.thinks:
        raise RequestError(
            "the model's chat template has no place for thoughts that are to be continued; "
            "leave 'reasoning_content' out, or give the answer a content",
            param=f"messages[{len(chat)}].reasoning_content",
        )
    return _before_content(forms) + answer.content


def closing_text(chat: Messages, render: Render, source: str, mark: str) -> str:
    """Return the text that ends thoughts before content, with the closing `mark` in it.

    It is learned from a finished answer to the chat; where the template shows none with thoughts, a mark that
    follows a line end has a line of its own, and an empty line follows.
    """
    forms = _Forms(chat, render, source)
    if forms.with_thoughts is not None and mark in forms.with_thoughts[1]:
        return forms.with_thoughts[1]
    for prompt in forms.prompts():
        block = forms.block(prompt)
        if block is not None and block.closing == mark:
            return block.answer("")[len(block.thoughts("")) :]
    return f"\n{mark}\n\n"


def _after_thoughts(forms: _Forms, answer: BegunAnswer) -> str | None:
    """Return the prompt with the answer's thoughts, ended unless they go on; None: they have no place."""
    if forms.with_thoughts is not None and _ends_alike(forms):
        return _in_form(forms.with_thoughts, answer)
    for prompt in forms.prompts():
        block = forms.block(prompt)
        if block is not None:
            return block.thoughts(answer.reasoning) if answer.thinks else block.answer(answer.reasoning)
    return _in_form(forms.with_thoughts_on, answer)


def _in_form(form: tuple[str, str] | None, answer: BegunAnswer) -> str | None:
    if form is None:
        return None
    before, between = form
    return before + answer.reasoning + ("" if answer.thinks else between)


def _ends_alike(forms: _Forms) -> bool:
    """True unless the generation prompt begins thoughts by words that finished answers don't show."""
    assert forms.with_thoughts is not None
    before = forms.with_thoughts[0]
    return not (forms.thinks_at_once and len(forms.opening.rstrip()) > len(before.rstrip()))


def _before_content(forms: _Forms) -> str:
    """Return the prompt without thoughts, up to the answer's content."""
    before, opening = forms.before_content, forms.opening
    if before is not None and (
        forms.shows_none() or before.startswith(opening) or not forms.closes_thoughts()
    ):
        return before
    return f"{opening} " if opening.endswith(":") else opening


def _unpacked(answer: BegunAnswer, source: str) -> BegunAnswer:
    """Return the answer with thoughts of its own apart, if it begins with a block that the template knows."""
    if answer.reasoning or answer.thinks:
        return answer
    text = answer.content.lstrip()
    for opening, closing in THOUGHT_BLOCKS:
        if text.startswith(opening) and (opening in source or closing in source):
            thoughts, ended, content = text[len(opening) :].partition(closing)
            if not ended:
                return BegunAnswer("", thoughts.lstrip("\n"), thinks=True)
            return BegunAnswer(content.lstrip("\n"), thoughts.strip("\n"))
    return answer


def _common_length(first: str, second: str) -> int:
    """Return the length of the text with which both begin."""
    if first.startswith(second):
        return len(second)
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if first[:middle] == second[:middle] else (low, middle - 1)
    return low
