"""Chat templates in Jinja, as Hugging Face writes them, compiled and rendered in a sandbox. Pure.

Templates come from strangers: one can loop for hours or fill the memory in a single expression, and no limit
inside this process is complete. So nobody but `template_process` renders a model's template, and there this
module runs.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import jinja2
import msgspec

from models.errors import RequestError
from server.chat.begun_answer import BegunAnswer
from server.chat.continued_prompt import closing_text, continued_prompt
from server.chat.delivery import CheckedTemplate, Variables
from server.chat.generic_tools import with_calls_in_content, with_generic_tools, with_system_text
from server.chat.jinja_environment import EXPRESSION_ERRORS, environment, strftime_now
from server.chat.message_changes import Message, Messages
from server.chat.plain_definitions import plain_definition
from server.chat.response_schemas import SchemaForm, learned_schema_form, schema_sentence
from server.chat.result_fields import reads_result_fields, with_result_fields
from server.chat.template_prompt import TemplatePrompt
from server.chat.thought_blocks import THOUGHT_NAMES, marks_around, marks_in, with_thought_parts
from server.chat.tool_formats.registry import detect, tool_formats
from server.chat.tool_formats.tool_format import CallWriter
from server.chat.tool_habits import TOOL_FORMS, ToolForm, ToolHabits, has_calls, is_of_calls, learned

RESERVED = frozenset(
    {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token", *environment().globals}
)
"""A request can't set these variables of a template."""

_HMM = str(10**19 + secrets.randbelow(9 * 10**19))
"""Thoughts whose place in the prompt is looked for; no filter of a template changes digits."""


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
        self._plain = {**_defaults(), **self._tokens, "add_generation_prompt": True}
        self._has_thought_parts = self._has_result_fields = False
        self._checked = CheckedTemplate(self._render, self._plain)
        self._has_thought_parts = self._reads_thought_parts()
        self._has_result_fields = reads_result_fields(
            lambda chat: self._checked.unchecked(chat, self._plain), source
        )

    def render(self, messages: Messages, **options: Any) -> str:
        """Return the text of what `prompt` returns for the same options."""
        return self.prompt(messages, **options).text

    def prompt(
        self,
        messages: Messages,
        *,
        add_generation_prompt: bool = True,
        template_kwargs: Mapping[str, Any] | None = None,
        begun: BegunAnswer | None = None,
        tools: Sequence[dict[str, Any]] = (),
        schema: str | None = None,
    ) -> TemplatePrompt:
        """Return the prompt of messages (OpenAI's, string contents), with BOS where the template writes it.

        `tools` are definitions in OpenAI's form; the answer is told to follow `schema`, JSON text. With
        `begun` the prompt ends with that beginning of the answer. Raises RequestError for messages or tools
        that don't reach the prompt; see `delivery`.
        """
        kwargs = dict(template_kwargs or {})
        chat = [_plain(message) for message in messages]
        if schema is not None:
            chat = self._with_schema(chat, kwargs, schema)
        render = partial(self._text, begun=begun, add_generation_prompt=add_generation_prompt)
        text, is_generic = self._with_tools(chat, list(tools), kwargs, render)
        marks = self._thoughts
        return TemplatePrompt(
            text=text,
            is_generic=is_generic,
            thoughts=marks,
            thinks=_thinks(text, marks, begun, add_generation_prompt),
            closing="" if marks is None else self._closing,
        )

    def learn(self) -> None:
        """Find out what the first chat with tools would wait for."""
        if self._habits.shows_tools and self._thoughts is not None:
            _ = self._closing

    def _with_tools(
        self, chat: Messages, tools: list[dict[str, Any]], kwargs: dict[str, Any], render: Callable[..., str]
    ) -> tuple[str, bool]:
        """Return the prompt's text, and True if the generic format is in it."""
        if not tools and not has_calls(chat):
            return render(chat, kwargs), False
        try:
            return self._with_definitions(chat, tools, kwargs, render)
        except RequestError:
            if self._takes(tools):
                raise
        plain = [plain_definition(tool) for tool in tools]
        if self._takes(plain):
            return self._with_definitions(chat, plain, kwargs, render)
        return render(with_generic_tools(chat, tools), kwargs), True

    def _takes(self, tools: list[dict[str, Any]]) -> bool:
        """Return False if the template refuses these definitions in the shortest of chats."""
        variables = {**self._plain, **self._tool_variables(tools)}
        try:
            self._checked.unchecked([{"role": "user", "content": "?"}], variables)
        except RequestError:
            return False
        return True

    def _with_definitions(
        self, chat: Messages, tools: list[dict[str, Any]], kwargs: dict[str, Any], render: Callable[..., str]
    ) -> tuple[str, bool]:
        habits, variables = self._habits, {**kwargs, **self._tool_variables(tools)}
        generic = with_generic_tools(chat, tools)
        if tools and not habits.shows_tools:
            return render(generic, kwargs), True
        if has_calls(chat) and not habits.shows_calls:
            return self._with_written_calls(chat, variables, render), False
        prepared = habits.prepared(chat)
        try:
            return render(prepared, variables), False
        except RequestError as error:
            refusal = self._of_the_chat(error, chat, prepared)
            if not is_of_calls(error, prepared):
                raise refusal from error
            try:
                return render(generic, kwargs), True
            except RequestError:
                raise refusal from error

    def _with_written_calls(
        self, chat: Messages, variables: dict[str, Any], render: Callable[..., str]
    ) -> str:
        """Return the prompt of a chat whose template writes no calls: they stand in the contents."""
        name = detect(self._source)
        writer: object = None if name is None else tool_formats()[name]
        if isinstance(writer, CallWriter):
            # A refusal of this form is one of the role `tool`: then results are a user's.
            try:
                return render(with_calls_in_content(chat, writer.write), variables)
            except RequestError:
                pass
        return render(with_generic_tools(chat, []), variables)

    @staticmethod
    def _of_the_chat(error: RequestError, chat: Messages, prepared: Messages) -> RequestError:
        """Return the error with a place of the chat that the client sent."""
        return error if len(chat) == len(prepared) else RequestError(error.message, param="messages")

    def _tool_variables(self, tools: list[dict[str, Any]]) -> dict[str, Any]:
        return self._tool_form(tools) if tools and self._tool_form is not None else {}

    @cached_property
    def _tool_form(self) -> ToolForm | None:
        """The variables in which the template reads tools; None where it shows none."""
        return next((form for form in TOOL_FORMS if self._learned(form).shows_tools), None)

    @cached_property
    def _habits(self) -> ToolHabits:
        return self._learned(self._tool_form or TOOL_FORMS[0])

    def _learned(self, form: ToolForm) -> ToolHabits:
        def render(messages: Messages, tools: list[dict[str, Any]]) -> str:
            forms = form(tools) if tools else {}
            return self._checked.unchecked(messages, {**self._plain, **forms})

        return learned(render)

    def _with_schema(self, chat: Messages, kwargs: dict[str, Any], schema: str) -> Messages:
        """Add the schema to the variables if the template shows it, else return the chat with words of it."""
        if self._schema_form is None:
            return with_system_text(chat, schema_sentence(schema))
        for name, value in self._schema_form(json.loads(schema)).items():
            kwargs.setdefault(name, value)
        return chat

    @cached_property
    def _schema_form(self) -> SchemaForm | None:
        def render(variables: dict[str, Any]) -> str:
            chat: Messages = [{"role": "user", "content": "?"}]
            try:
                return self._checked.unchecked(chat, {**self._plain, **variables})
            except RequestError:
                return ""

        return learned_schema_form(render, self._source)

    @cached_property
    def _thoughts(self) -> tuple[str, str] | None:
        """The marks around thoughts: in the template's text, or as it writes them, put together of pieces."""
        return marks_in(self._source) or marks_around(self._with_thoughts(), _HMM)

    def _reads_thought_parts(self) -> bool:
        """Return True if the template shows thoughts only as a part of a content."""
        named = "'thinking'" in self._source or '"thinking"' in self._source
        if not named or _HMM in self._with_thoughts():
            return False
        self._has_thought_parts = True
        return marks_around(self._with_thoughts(), _HMM) is not None

    def _with_thoughts(self) -> str:
        """Return a chat with a finished answer that has thoughts; "" where the template refuses it."""
        answer = {"role": "assistant", "content": "!", "reasoning_content": _HMM}
        chat: Messages = [{"role": "user", "content": "?"}, _plain(answer)]
        try:
            return self._checked.unchecked(chat, {**self._plain, "add_generation_prompt": False})
        except RequestError:
            return ""

    @cached_property
    def _closing(self) -> str:
        """The text that ends thoughts, as the template writes it in a finished answer."""
        assert self._thoughts is not None
        render = partial(self._checked_prompt, kwargs={})
        return closing_text([{"role": "user", "content": "?"}], render, self._source, self._thoughts[1])

    def _text(
        self,
        chat: Messages,
        kwargs: dict[str, Any],
        *,
        begun: BegunAnswer | None,
        add_generation_prompt: bool,
    ) -> str:
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
        if self._has_thought_parts:
            messages = [with_thought_parts(message) for message in messages]
        if self._has_result_fields:
            messages = with_result_fields(messages)
        try:
            return self._template.render(variables, messages=list(messages))  # it may change the list
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
    if not thoughts:
        return plain
    # Command-R7B's template calls the thoughts before a call so.
    plan = {"tool_plan": thoughts} if message.get("tool_calls") else {}
    return {**dict.fromkeys(THOUGHT_NAMES, thoughts), **plan, **plain}


def _thinks(
    text: str, marks: tuple[str, str] | None, begun: BegunAnswer | None, add_generation_prompt: bool
) -> bool:
    """Return True if the answer goes on within thoughts."""
    if marks is None or begun is not None:
        return marks is not None and begun is not None and begun.thinks
    return add_generation_prompt and text.rstrip().endswith(marks[0])


def _reason(error: BaseException) -> str:
    """Return the error in one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "…"
