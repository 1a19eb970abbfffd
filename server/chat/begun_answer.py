"""An answer that the client has begun, for the model to continue: which requests have one. Pure.

The last message, if it is the assistant's, is continued as in llama-server; `continue_final_message`, vLLM's,
says so too, and false says that the message is complete.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from models.errors import RequestError
from server.chat.message_changes import Messages

Continuation = bool | Literal["content", "reasoning_content"] | None
"""`continue_final_message` of a request: vLLM's true or false, or llama-server's name of what to continue."""


class BegunAnswer(msgspec.Struct, frozen=True):
    """The words that an answer begins with: thoughts, then the answer itself."""

    content: str
    reasoning: str = ""
    thinks: bool = False
    """If true, the model continues the thoughts; `content` is empty."""


def split_begun_answer(
    messages: Messages, *, add_generation_prompt: bool, continuation: Continuation
) -> tuple[Messages, BegunAnswer | None]:
    """Return the messages before the begun answer, and the answer; all messages and None if there is none.

    Raises RequestError where the answer can't be continued.
    """
    last = messages[-1]
    is_answer = last["role"] == "assistant"
    if continuation and not is_answer:
        raise RequestError(
            f"'continue_final_message' is set and the last message is of role '{last['role']}'; "
            "end with the assistant's message that is to be continued",
            param="continue_final_message",
        )
    asked = bool(continuation) or (continuation is None and add_generation_prompt)
    if not is_answer or not asked:
        return messages, None
    if last.get("tool_calls"):
        raise _refusal(messages, "a message with tool calls can't be continued; add the tool's message")
    if len(messages) > 1 and messages[-2]["role"] == "assistant":
        raise _refusal(
            messages, "the chat ends with two assistant messages; only one can be continued: join them"
        )
    return messages[:-1], _begun_answer(last, continuation)


def _begun_answer(message: dict[str, Any], continuation: Continuation) -> BegunAnswer | None:
    content, reasoning = message.get("content") or "", message.get("reasoning_content") or ""
    if continuation == "reasoning_content" and content:
        raise RequestError(
            "'continue_final_message' is 'reasoning_content' and the last message has a content already; "
            "leave the content out, or set it to true",
            param="continue_final_message",
        )
    if continuation == "content":
        return BegunAnswer(content, reasoning)
    if continuation == "reasoning_content":
        return BegunAnswer("", reasoning, thinks=True)
    if not content and not reasoning:
        return None
    return BegunAnswer(content, reasoning, thinks=not content)


def _refusal(messages: Messages, why: str) -> RequestError:
    return RequestError(why, param=f"messages[{len(messages) - 1}]")
