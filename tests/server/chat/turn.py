"""An answer as a model writes it, read as the server does, and sent back in the forms of all protocols."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from server.answers.events import CallBegin, CallDelta, CallEnd, ThoughtDelta
from server.answers.reader import AnswerReader
from server.anthropic.requests.history import conversation
from server.anthropic.requests.schemas import InputMessage
from server.chat.tools import Tool
from server.engine.events import AnswerForm, ChoiceEnd, Delta, Event, Started
from server.openai.requests.messages import canonical_messages
from server.openai.requests.schemas import ChatMessage
from server.responses.items import messages_of
from tests.server.chat.tool_chats import SYSTEM, USER


@dataclass
class Answer:
    """A listener that keeps what an answer is made of; `calls` are ids, names and arguments."""

    content: str = ""
    thoughts: str = ""
    calls: list[list[str]] = field(default_factory=list)

    def on_event(self, event: Event) -> None:
        match event:
            case ThoughtDelta():
                self.thoughts += event.text
            case CallBegin():
                self.calls.append([event.call_id, event.name, ""])
            case CallDelta():
                self.calls[event.call][2] += event.text
            case CallEnd():
                pass
            case Delta():
                self.content += event.text

    async def drained(self) -> None:
        return


def read_answer(raw: str, form: AnswerForm, tool: Tool) -> Answer:
    """Return what the API process makes of the text of an answer."""
    answer = Answer()
    reader = AnswerReader(answer, [tool])
    reader.on_event(Started(id="a", prompt_tokens=1, cached_tokens=0, form=form))
    reader.on_event(Delta(id="a", index=0, text=raw, n_tokens=1))
    reader.on_event(ChoiceEnd(id="a", index=0, finish_reason="stop"))
    return answer


def next_chat(answer: Answer, result: str, question: str) -> list[dict[str, Any]]:
    """Return the chat with the answer and its results or a question; all protocols make the same of it."""
    chat = _by_chat_completions(answer, result, question)
    assert _without_ids(_by_messages(answer, result, question)) == _without_ids(chat)
    assert _without_ids(_by_responses(answer, result, question)) == _without_ids(chat)
    return chat


def _without_ids(chat: list[dict[str, Any]]) -> str:
    return json.dumps(chat, sort_keys=True).replace("toolu_", "call_")


def _by_chat_completions(answer: Answer, result: str, question: str) -> list[dict[str, Any]]:
    calls = [
        {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}
        for ident, name, arguments in answer.calls
    ]
    said = {
        "role": "assistant",
        "content": answer.content or None,
        "reasoning_content": answer.thoughts or None,
    }
    last = [{"role": "tool", "tool_call_id": call["id"], "content": result} for call in calls]
    chat = [SYSTEM, USER, {**said, **({"tool_calls": calls} if calls else {})}]
    chat += last or [{"role": "user", "content": question}]
    return canonical_messages([ChatMessage.model_validate(message) for message in chat])


def _by_messages(answer: Answer, result: str, question: str) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if answer.thoughts:
        parts.append({"type": "thinking", "thinking": answer.thoughts, "signature": ""})
    if answer.content:
        parts.append({"type": "text", "text": answer.content})
    ids = []
    for ident, name, arguments in answer.calls:
        ids.append(ident.replace("call_", "toolu_"))
        parts.append({"type": "tool_use", "id": ids[-1], "name": name, "input": json.loads(arguments)})
    last: Any = [{"type": "tool_result", "tool_use_id": ident, "content": result} for ident in ids]
    turns: list[tuple[str, Any]] = [
        ("user", USER["content"]),
        ("assistant", parts),
        ("user", last or question),
    ]
    messages = [InputMessage.model_validate({"role": role, "content": content}) for role, content in turns]
    return conversation(SYSTEM["content"], messages).messages


def _by_responses(answer: Answer, result: str, question: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = [dict(SYSTEM), dict(USER)]
    if answer.thoughts:
        content = [{"type": "reasoning_text", "text": answer.thoughts}]
        items.append({"type": "reasoning", "id": "r", "summary": [], "content": content})
    if answer.content:
        text = [{"type": "output_text", "text": answer.content, "annotations": []}]
        items.append({"type": "message", "role": "assistant", "content": text})
    for ident, name, arguments in answer.calls:
        items.append({"type": "function_call", "call_id": ident, "name": name, "arguments": arguments})
    for ident, _, _ in answer.calls:
        items.append({"type": "function_call_output", "call_id": ident, "output": result})
    if not answer.calls:
        items.append({"role": "user", "content": question})
    return messages_of(items)[0]
