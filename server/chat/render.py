"""`ChatRenderer`: messages in, prompt out, by a built-in format or by the model's own Jinja template.

A worker uses it while the engine computes. It needs no weights; the worker tokenizes the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.errors import RequestError
from server.chat import conversation, detection
from server.chat.begun_answer import BegunAnswer, Continuation, split_begun_answer
from server.chat.generic_tools import with_generic_tools, with_system_text
from server.chat.prompt_formats import PROMPT_FORMATS, TEMPLATE, canonical_name
from server.chat.response_schemas import schema_sentence
from server.chat.template_pool import TemplatePool
from server.chat.template_prompt import TemplatePrompt
from server.chat.templates import RESERVED
from server.chat.thinking import Thinking, thinking_variables
from server.chat.thought_blocks import THOUGHT_NAMES
from server.chat.tool_formats.registry import detect
from server.chat.tool_habits import has_calls
from server.chat.tools import Tool
from server.engine.events import AnswerForm

GENERIC = "generic"
"""The tool format that the prompt teaches to models whose template knows none."""

_PLAIN, _THINKING = AnswerForm(), Thinking()


@dataclass(frozen=True)
class RenderedPrompt:
    """A prompt's text, its stops, and the handling of its BOS and its answer's first space."""

    text: str
    stops: tuple[str, ...]
    """The format adds these stop strings to the request's own."""
    strip_leading_space: bool
    """If true, the answer's first space belongs to the format (`ASSISTANT: Paris`), not to the answer."""
    add_bos: bool
    """If false, `text` begins with the BOS token, and the tokenizer must not add another."""
    begun: str = ""
    """The answer's words that the prompt ends with, which an echo repeats."""
    form: AnswerForm = _PLAIN
    """The parts that answers are made of; `tool_format` is None where the request offers no tools, unless the
    format has thoughts of its own."""
    closing: str = ""
    """The text that ends thoughts before content, as the template writes it; empty where there are none."""


@dataclass(frozen=True)
class _Template:
    """A template's text and the processes that render it."""

    source: str
    pool: TemplatePool

    def form(self, prompt: TemplatePrompt, *, with_tools: bool) -> AnswerForm:
        """Return the parts of the answers to a prompt."""
        return AnswerForm(
            tool_format=self._tool_format(prompt, with_tools=with_tools),
            thoughts=prompt.thoughts,
            thinks=prompt.thinks,
        )

    def _tool_format(self, prompt: TemplatePrompt, *, with_tools: bool) -> str | None:
        if with_tools:
            return GENERIC if prompt.is_generic else detect(self.source) or GENERIC
        # A template that marks thoughts in a way of its own has answers that only its format reads.
        if prompt.thoughts is None and any(name in self.source for name in THOUGHT_NAMES):
            return detect(self.source)
        return None


class ChatRenderer:
    """Renders one model's chats. Thread-safe.

    `prompt_format` (of the request, then of the constructor) chooses; without one `detection.detect` does.
    `tool_use_template` is the template for chats with tools or calls, if the model has one of its own.
    `name` is the format used when a request names none. `close` ends the processes that render the Jinja
    template, if there are any; it ends with the object too. Raises RequestError for an unknown
    `prompt_format`.
    """

    def __init__(
        self,
        chat_template: str | None,
        bos_token: str,
        eos_token: str,
        model_name: str,
        metadata: Mapping[str, str],
        prompt_format: str | None = None,
        tool_use_template: str | None = None,
    ) -> None:
        self._bos_token, self._eos_token = bos_token, eos_token
        self._tokenizer_adds_bos = metadata.get("tokenizer.ggml.add_bos_token", "").lower() == "true"
        chat_template = chat_template or tool_use_template
        self._template = self._opened(chat_template)
        self._tool_use_template = self._template
        if tool_use_template and tool_use_template != chat_template:
            self._tool_use_template = self._opened(tool_use_template)
        if prompt_format is None:
            self.name = detection.detect(model_name, metadata, has_template=bool(chat_template))
        else:
            self.name = self._known(prompt_format)

    @property
    def knows_calls(self) -> bool:
        """True if the model's own template has the form of a known kind of calls."""
        template = self._tool_use_template
        return self.name == TEMPLATE and template is not None and detect(template.source) is not None

    def warm_up(self) -> None:
        """Start the process that the first chat would wait for; return at once."""
        if self.name == TEMPLATE and self._template is not None:
            self._template.pool.start()

    def close(self) -> None:
        """End the processes that render the Jinja template, if there are any."""
        for template in (self._template, self._tool_use_template):
            if template is not None:
                template.pool.close()

    def render(
        self,
        messages: list[dict[str, Any]],
        *,
        prompt_format: str | None = None,
        add_generation_prompt: bool = True,
        template_kwargs: Mapping[str, Any] | None = None,
        continuation: Continuation = None,
        tools: Sequence[Tool] = (),
        thinking: Thinking = _THINKING,
        response_schema: str | None = None,
    ) -> RenderedPrompt:
        """Return the prompt of messages (OpenAI's, string contents).

        `begun_answer` says when the last of them is continued. All `tools` are shown, whatever the answer may
        call, so that the prompts of a chat begin alike. The answer is told to follow `response_schema`.

        Raises RequestError: unknown format, a template argument that the server sets itself, or messages that
        the format or template refuses.
        """
        if not messages:
            raise RequestError("a chat needs at least one message; add a user message", param="messages")
        name = self.name if prompt_format is None else self._known(prompt_format)
        before, begun = split_begun_answer(
            messages, add_generation_prompt=add_generation_prompt, continuation=continuation
        )
        if begun is None and continuation:
            add_generation_prompt = True  # nothing has been said yet, so the answer just begins
        kwargs = {**thinking_variables(thinking), **(template_kwargs or {})}
        definitions = [tool.definition() for tool in tools]
        if name == TEMPLATE:
            return self._by_template(
                before,
                add_generation_prompt=add_generation_prompt,
                template_kwargs=kwargs,
                begun=begun,
                tools=definitions,
                schema=response_schema,
            )
        if response_schema is not None:
            before = with_system_text(before, schema_sentence(response_schema))
        if definitions or has_calls(before):
            before = with_generic_tools(before, definitions)
        prompt = self._by_format(name, before, begun, add_generation_prompt, kwargs)
        return replace(prompt, form=AnswerForm(tool_format=GENERIC)) if definitions else prompt

    def _by_format(
        self,
        name: str,
        messages: list[dict[str, Any]],
        begun: BegunAnswer | None,
        add_generation_prompt: bool,
        kwargs: dict[str, Any],
    ) -> RenderedPrompt:
        if begun is not None:
            if begun.thinks:
                raise RequestError(
                    f"the prompt format '{name}' has no place for thoughts that are to be continued; "
                    "leave 'reasoning_content' out, or give the answer a content",
                    param=f"messages[{len(messages)}].reasoning_content",
                )
            messages = [*messages, {"role": "assistant", "content": begun.content}]
        built_in = PROMPT_FORMATS[name]
        text = built_in.render(
            conversation.from_messages(messages, name, continues=begun is not None),
            eos_token=self._eos_token or "</s>",
            add_generation_prompt=add_generation_prompt,
            template_kwargs=kwargs,
        )
        answers = add_generation_prompt and begun is None
        return RenderedPrompt(
            text,
            built_in.stops,
            strip_leading_space=answers and text.endswith(":"),
            add_bos=True,
            begun=begun.content if begun else "",
        )

    def _by_template(
        self,
        messages: list[dict[str, Any]],
        *,
        add_generation_prompt: bool,
        template_kwargs: dict[str, Any],
        begun: BegunAnswer | None,
        tools: list[dict[str, Any]],
        schema: str | None,
    ) -> RenderedPrompt:
        for key in template_kwargs.keys() & RESERVED:
            raise RequestError(
                f"chat_template_kwargs can't set '{key}': the server does",
                param=f"chat_template_kwargs.{key}",
            )
        template = self._tool_use_template if tools or has_calls(messages) else self._template
        assert template is not None
        made = template.pool.prompt(
            messages,
            add_generation_prompt=add_generation_prompt,
            template_kwargs=template_kwargs,
            begun=begun,
            tools=tools,
            schema=schema,
        )
        text, add_bos = self._without_double_bos(made.text)
        return RenderedPrompt(
            text,
            (),
            strip_leading_space=add_generation_prompt and begun is None and text.endswith(":"),
            add_bos=add_bos,
            begun=begun.content if begun else "",
            form=template.form(made, with_tools=bool(tools)),
            closing=made.closing,
        )

    def _opened(self, source: str | None) -> _Template | None:
        if not source:
            return None
        return _Template(source, TemplatePool(source, bos_token=self._bos_token, eos_token=self._eos_token))

    def _without_double_bos(self, text: str) -> tuple[str, bool]:
        """Return the text and if the tokenizer may add a BOS, so that one of the template's counts once."""
        if not self._bos_token or not text.lstrip().startswith(self._bos_token):
            return text, True
        if self._tokenizer_adds_bos and text.startswith(self._bos_token):
            return text[len(self._bos_token) :], True
        return text, False

    def _known(self, prompt_format: str) -> str:
        name = canonical_name(prompt_format)
        if name == TEMPLATE and self._template is None:
            raise RequestError(
                "this model's GGUF holds no chat template; choose a built-in prompt_format: "
                + ", ".join(PROMPT_FORMATS),
                param="prompt_format",
            )
        return name
