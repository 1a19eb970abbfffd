"""Prompts: what a request asks the model to go on from, in the form that the worker gets it."""

from __future__ import annotations

from typing import Any

import msgspec

from server.chat.begun_answer import Continuation
from server.chat.thinking import Thinking
from server.chat.tools import Tool, ToolChoice
from server.ipc.chat_image import ChatImage


class TextPrompt(msgspec.Struct, frozen=True, tag="text"):
    """Raw text, tokenized with the model's BOS where the model wants one; special tokens in it are parsed."""

    text: str


class TokenPrompt(msgspec.Struct, frozen=True, tag="tokens"):
    """Token ids, used as they are and checked against the vocabulary's size."""

    tokens: tuple[int, ...]


class MixedPrompt(msgspec.Struct, frozen=True, tag="mixed"):
    """Texts and token ids in one sequence; a text at its beginning has the model's BOS before it."""

    parts: tuple[str | tuple[int, ...], ...]


class ChatPrompt(msgspec.Struct, frozen=True, tag="chat"):
    """A chat to render: OpenAI's message dicts with string content (parts already joined).

    An assistant's message may have `tool_calls`, each with `id`, `type` and `function`, whose `arguments` are
    the JSON text of an object; a tool's has `tool_call_id` and the `name` of the tool.
    """

    messages: list[dict[str, Any]]
    prompt_format: str | None = None
    chat_template_kwargs: dict[str, Any] = {}
    add_generation_prompt: bool = True
    continue_final_message: Continuation = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    thinking: Thinking = Thinking()
    response_schema: str | None = None
    """The text of a JSON schema that the prompt tells the model to follow; None: it isn't told.

    It is text, as a worker that made objects of a long one would hold Python's lock for milliseconds.
    """
    drops_oldest: bool = False
    """The oldest messages are left out where they have no room in the context; else that is an error."""
    before: tuple[int, ...] = ()
    """These token ids go before the chat: a conversation that the client has as tokens."""
    images: tuple[ChatImage, ...] = ()
    image_mark: str = ""
    """At the place of an image the contents have this, and the image's number in seven digits."""

    @property
    def n_image_bytes(self) -> int:
        """The bytes of all images."""
        return sum(len(image.data) for image in self.images)


class ExtraText(msgspec.Struct, frozen=True, array_like=True):
    """The text of another file, which the model sees beside the one with the gap."""

    text: str
    filename: str = "tmp"


class InfillPrompt(msgspec.Struct, frozen=True, tag="infill", kw_only=True):
    """A text with a gap that the answer fills. Special tokens in it are text like any other."""

    prefix: str
    suffix: str
    begun: str = ""
    """The beginning of what fills the gap, which the answer goes on from."""
    extra: tuple[ExtraText, ...] = ()
    in_repository: bool = False
    """The prompt names a repository and a file, where the model has tokens for them: llama-server's form."""
    suffix_first: bool | None = None
    """The order of the parts; None: the model's own."""
    param: str = "suffix"
    """The field that a model without the tokens for this is told about."""


Prompt = TextPrompt | TokenPrompt | MixedPrompt | ChatPrompt | InfillPrompt


TextParts = tuple[str | int, ...]
"""A text in parts, some of which are token ids."""


class PooledInputs(msgspec.Struct, frozen=True, array_like=True):
    """The texts of a `Pool`. Token ids alone are used as they are; strings get the model's special tokens."""

    texts: tuple[str | TextParts, ...]
    pairs: tuple[tuple[int, int], ...] = ()
    """The places in `texts` of those that are scored together; empty: each text is for itself."""
