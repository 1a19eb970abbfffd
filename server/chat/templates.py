"""Chat templates in Jinja, as Hugging Face writes them, compiled and rendered in a sandbox. Pure.

Templates come from strangers: one can loop for hours or fill the memory in a single expression, and no limit
inside this process is complete. So nobody but `template_process` renders a model's template, and there this
module runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from models.errors import RequestError
from server.chat.conversation import SYSTEM_ROLES

Messages = list[dict[str, Any]]

RESERVED = frozenset({"messages", "add_generation_prompt", "bos_token", "eos_token"})
"""A request can't set these variables of a template."""


class ChatTemplate:
    """A compiled template. Raises RequestError where it isn't valid Jinja."""

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        try:
            self._template = _environment().from_string(source)
        except (jinja2.TemplateError, RecursionError, MemoryError, ValueError, OverflowError) as error:
            raise RequestError(
                f"the model's chat template is not valid Jinja ({_reason(error)}); "
                "choose a built-in one with prompt_format",
                param="prompt_format",
            ) from error

    def render(
        self,
        messages: Messages,
        *,
        add_generation_prompt: bool = True,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the prompt of messages (OpenAI's, string contents), with BOS where the template writes it.

        A template that raises on a system message, or drops it, gets it merged into the first user turn; one
        that reads contents as lists of parts gets those. Raises RequestError if it refuses the messages in
        every form.
        """
        values = {**(template_kwargs or {}), **self._tokens, "add_generation_prompt": add_generation_prompt}
        first_text: str | None = None
        first_error: RequestError | None = None
        for without_tools in _WITHOUT_TOOLS:
            for form, wanted in _forms(messages):
                try:
                    text = self._template.render({**without_tools, **values}, messages=form)
                except (jinja2.TemplateError, *_EXPRESSION_ERRORS) as error:
                    first_error = first_error or RequestError(
                        f"the model's chat template refuses these messages: {_reason(error)}",
                        param="messages",
                    )
                    continue
                if all(part in text for part in wanted):
                    return text
                first_text = text if first_text is None else first_text
            if first_text is not None:
                return first_text
        assert first_error is not None
        raise first_error


# Most templates test for None, as Transformers passes it; those made for tools alone just walk the list.
_WITHOUT_TOOLS: tuple[dict[str, Any], ...] = (
    {"tools": None, "documents": None},
    {"tools": [], "documents": [], "functions": []},
)

# What an expression of a template can raise, apart from Jinja's own errors.
_EXPRESSION_ERRORS = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError)


def _forms(messages: Messages) -> Iterator[tuple[Messages, list[str]]]:
    """Yield the messages in the forms that templates want, each with the texts that the prompt must have."""
    wanted = [text for message in messages if (text := _must_show(message))]
    yield messages, wanted
    merged = _merge_system(messages)
    if merged is not None:
        yield merged, wanted
    yield _typed(messages), wanted
    if merged is not None:
        yield _typed(merged), wanted


def _must_show(message: dict[str, Any]) -> str | None:
    """Return the text without which the template has dropped the message. Answers may be shortened."""
    content = message.get("content")
    if not isinstance(content, str) or message.get("role") not in (*SYSTEM_ROLES, "user"):
        return None
    return content.strip()


def _merge_system(messages: Messages) -> Messages | None:
    """Return the messages with system texts in the first user message; None where there are none."""
    system = [message["content"] for message in messages if message.get("role") in SYSTEM_ROLES]
    if not system:
        return None
    rest = [dict(message) for message in messages if message.get("role") not in SYSTEM_ROLES]
    text = "\n\n".join(part for part in system if part)
    user = next((message for message in rest if message.get("role") == "user"), None)
    if user is None:
        return [{"role": "user", "content": text}, *rest]
    user["content"] = f"{text}\n\n{user['content']}"
    return rest


def _typed(messages: Messages) -> Messages:
    """Return the messages with string contents as a list of one text part."""
    return [
        {**message, "content": [{"type": "text", "text": message["content"]}]}
        if isinstance(message.get("content"), str)
        else message
        for message in messages
    ]


def _reason(error: BaseException) -> str:
    """Return the error in one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "…"


# --- the environment ----------------------------------------------------------------------------------------


class _Generation(Extension):
    """The tag `{% generation %}` marks the assistant's words for training; here they are just printed."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation], cache_size=0
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    del environment.globals["lipsum"]
    return environment


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().astimezone().strftime(form)
