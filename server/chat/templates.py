"""Chat templates in Jinja, as Hugging Face writes them, compiled and rendered in a sandbox. Pure.

Templates come from strangers: one can loop for hours or fill the memory in a single expression, and no limit
inside this process is complete. So nobody but `template_process` renders a model's template, and there this
module runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jinja2
import msgspec

from models.errors import RequestError
from server.chat.begun_answer import BegunAnswer
from server.chat.continued_prompt import continued_prompt
from server.chat.delivery import CheckedTemplate, Variables
from server.chat.jinja_environment import EXPRESSION_ERRORS, environment, strftime_now
from server.chat.message_changes import Message, Messages
from server.chat.thought_blocks import THOUGHT_NAMES

RESERVED = frozenset(
    {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token", *environment().globals}
)
"""A request can't set these variables of a template."""


class ChatTemplate:
    """A compiled template. Raises RequestError where it isn't valid Jinja. Not thread-safe."""

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        self._source = source
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        try:
            self._template = environment().from_string(source)
        except (jinja2.TemplateError, RecursionError, MemoryError, ValueError, OverflowError) as error:
            raise RequestError(
                f"the model's chat template is not valid Jinja ({_reason(error)}); "
                "choose a built-in one with prompt_format",
                param="prompt_format",
            ) from error
        plain = {**_defaults(), **self._tokens, "add_generation_prompt": True}
        self._checked = CheckedTemplate(self._render, plain)

    def render(
        self,
        messages: Messages,
        *,
        add_generation_prompt: bool = True,
        template_kwargs: Mapping[str, Any] | None = None,
        begun: BegunAnswer | None = None,
    ) -> str:
        """Return the prompt of messages (OpenAI's, string contents), with BOS where the template writes it.

        With `begun` the prompt ends with that beginning of the answer. Raises RequestError for messages that
        don't reach the prompt; see `delivery`.
        """
        kwargs = dict(template_kwargs or {})
        chat = [_plain(message) for message in messages]
        render = partial(self._checked_prompt, kwargs=kwargs)
        if begun is None:
            return render(chat, add_generation_prompt=add_generation_prompt)
        return continued_prompt(chat, begun, render, self._source)

    def _checked_prompt(
        self,
        chat: Messages,
        *,
        add_generation_prompt: bool,
        thinking: bool | None = None,
        kwargs: dict[str, Any],
    ) -> str:
        mode = {} if thinking is None else {"enable_thinking": thinking, "thinking": thinking}
        given = {**kwargs, **mode, "add_generation_prompt": add_generation_prompt}
        variables = {**_defaults(), **given, **self._tokens}
        return self._checked.render(chat, variables, kind=msgspec.msgpack.encode(given))

    def _render(self, messages: Messages, variables: Variables) -> str:
        try:
            return self._template.render(variables, messages=messages)
        except (jinja2.TemplateError, *EXPRESSION_ERRORS) as error:
            raise RequestError(_reason(error), param="messages") from error


def _defaults() -> dict[str, Any]:
    """Return the variables that llama-server gives to every template."""
    return {
        "enable_thinking": True,
        "date_string": strftime_now("%d %b %Y"),
        "datetime": strftime_now("%b %d %Y"),
    }


def _plain(message: Message) -> Message:
    """Return a message as templates know it: `developer` is `system`, thoughts have all of their names."""
    plain = {**message, "role": "system"} if message["role"] == "developer" else message
    thoughts = message.get("reasoning_content")
    return {**dict.fromkeys(THOUGHT_NAMES, thoughts), **plain} if thoughts else plain


def _reason(error: BaseException) -> str:
    """Return the error in one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "…"
