"""Calls that a model's own template renders are read back, and its format's grammar accepts them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from server.chat.templates import ChatTemplate
from server.chat.thinking import Thinking, thinking_variables
from server.chat.tool_formats import lark
from server.chat.tool_formats.registry import detect, tool_formats
from server.chat.tool_formats.tool_format import GrammarJob, ToolFormat
from tests.server.chat.tool_formats.sample import CODE, TOOLS, Call, read
from tests.server.chat.tool_formats.test_detection import TEMPLATES

RENDERED = [path for path in TEMPLATES if detect(path.read_text()) is not None]
IN_THE_GENERIC_FORMAT = {
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "the template shows no tools, and drops calls",
}
"""These templates don't render calls: the renderer writes a history's into content, as `generic` does."""
ONE_CALL = {
    "GigaChat3-10B-A1.8B": "the template renders the first call of a message",
    "GigaChat3.1-10B-A1.8B": "the template renders the first call of a message",
    "openai-gpt-oss-120b": "the template renders the first call of a message",
    "meta-llama-Llama-3.1-8B-Instruct": "the template refuses several calls",
    "meta-llama-Llama-3.2-3B-Instruct": "the template refuses several calls",
    "meta-llama-Llama-3.3-70B-Instruct": "the template refuses several calls",
}
"""The renderer makes a message of each call for these."""
UNESCAPED = {"LFM2.5-8B-A1B": "it writes backslashes within quotes as they are, so `\\n` is a line break"}
ESCAPED = {"Reka-Edge": "it writes \\u escapes for letters, which the grammar's JSON has as they are"}
TURN_ENDS = (
    *("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "</s>", "<|end_of_text|>", "<sep>", "<|end|>", "<|eot|>"),
    *("<｜end▁of▁sentence｜>", "<|call|>", "<|END_OF_TURN_TOKEN|>", "<seed:eos>", "[e~[", "<|end_of_msg|>"),
    *(
        "<|role_end|>",
        "</assistant>",
        "<end_of_sentence>",
        "<SPECIAL_12>",
        "<｜hy_eos:opensource｜>",
        "<turn|>",
    ),
    *(
        "<|im_start|>assistant",
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        "<|tool_response>",
        "<|return|>",
        "<|message_sep|>",
    ),
    *("<|START_THINKING|><|END_THINKING|>", "<|start_header_id|>assistant<|end_header_id|>"),
)
"""What templates write behind an answer: the turn's end, and the beginning of what follows calls."""


def called(text: str) -> list[Call]:
    options = {"dry": True, "tags": ["a", {"b": "}"}]}
    return [
        Call("get_weather", {"city": "Paris"}),
        Call("run", {"code": text, "options": options}),
        Call("now", {}),
    ]


def conversation(calls: list[Call], content: str = "", thoughts: str = "") -> list[dict[str, Any]]:
    made = [
        {
            "id": f"a1B2c3D4{place}",
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)},
        }
        for place, call in enumerate(calls)
    ]
    answer: dict[str, Any] = {"role": "assistant", "content": content}
    if made:
        answer["tool_calls"] = made
    if thoughts:
        answer["reasoning_content"] = thoughts
    return [{"role": "user", "content": "Do it."}, answer]


def described_tools() -> list[dict[str, Any]]:
    """Return the definitions of TOOLS with what Command-R+'s template wants of them."""
    tools = [tool.definition() for tool in TOOLS]
    for tool in tools:
        function = tool["function"]
        known = function["parameters"]["properties"].items()
        more = {"type": "string", "additionalProperties": {"type": "string"}}
        properties = {name: {"description": name, **more, **schema} for name, schema in known}
        function["parameters"] = {**function["parameters"], "properties": properties}
    return tools


@cache
def compiled(path: Path) -> ChatTemplate:
    return ChatTemplate(path.read_text(), eos_token="</s>")


class Answer:
    """What the product renders for an answer, cut out of the prompt."""

    def __init__(
        self,
        path: Path,
        calls: list[Call],
        content: str = "",
        thoughts: str = "",
        *,
        with_tools: bool = True,
    ) -> None:
        tools = described_tools() if with_tools else []
        messages = conversation(calls, content, thoughts)
        mode = thinking_variables(Thinking(enabled=bool(thoughts), effort="high" if thoughts else None))
        begun = compiled(path).prompt(messages[:1], tools=tools, template_kwargs=mode)
        whole = compiled(path).prompt(
            messages, tools=tools, template_kwargs=mode, add_generation_prompt=False
        )
        self.thoughts = begun.thoughts
        name = "generic" if whole.is_generic else detect(path.read_text())
        assert name is not None
        self.format: ToolFormat = tool_formats()[name]
        text = without_end(whole.text)
        cut = 0
        while cut < min(len(begun.text), len(text)) and begun.text[cut] == text[cut]:
            cut += 1
        opening, closing = self.thoughts or ("", "")
        # Some templates drop thoughts from a history, or the mark in front of them.
        self.thinks = begun.thinks and closing in text[cut:] and opening not in text[cut:]
        for mark in [*self.format.marks, *(self.thoughts or ())]:  # no mark is cut in two
            place = text.find(mark, max(cut - len(mark) + 1, 0))
            if 0 <= place < cut:
                cut = place
        self.text = text[cut:] if text[cut : cut + 4] in (" to=", " fun") else text[cut:].lstrip()
        if "<|SYSTEM_TOKEN|>" in self.text:  # Command-R+'s instructions follow the history
            self.text = without_end(self.text.partition("<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>")[0])
            self.text = self.text.removeprefix("CHATBOT_TOKEN|>").lstrip()
        if self.thoughts and begun.text.endswith(self.thoughts[1]):
            self.text = self.text.removeprefix(self.thoughts[1]).lstrip()  # the prompt has it


def without_end(text: str) -> str:
    """Return a text without what templates write behind an answer."""
    while True:
        end = next((end for end in TURN_ENDS if text.rstrip().endswith(end)), None)
        if end is None:
            return text.rstrip()
        text = text.rstrip().removesuffix(end)


@pytest.mark.parametrize("n_calls", [1, 3])
@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.stem)
def test_calls_are_read_back(path: Path, n_calls: int) -> None:
    if n_calls == 3 and path.stem in ONE_CALL:
        pytest.skip(ONE_CALL[path.stem])
    if path.stem in IN_THE_GENERIC_FORMAT:
        pytest.skip(IN_THE_GENERIC_FORMAT[path.stem])
    plain = CODE.strip() + " </b>"
    all_calls = called(plain.replace("\\", "/") if path.stem in UNESCAPED else plain)
    for calls in [[call] for call in all_calls] if n_calls == 1 else [all_calls]:
        answer = Answer(path, calls)
        reader = answer.format.reader(TOOLS, thoughts=answer.thoughts, thinks=answer.thinks)
        assert read(reader, answer.text)[2] == calls, answer.text
        if path.stem in ESCAPED and "\\u" in answer.text:
            continue
        for required in (False, True):
            job = GrammarJob(
                tools=TOOLS,
                required=required,
                parallel=True,
                mark=lark.quoted,
                is_token=lambda mark: mark == "[CALL_ID]",
                thoughts=answer.thoughts,
                thinks=answer.thinks,
            )
            matcher = LLMatcher(LLTokenizer("byte"), answer.format.grammar(job))
            tokens = list(answer.text.encode())
            taken = matcher.try_consume_tokens(tokens)
            rest = answer.text.encode()[taken:].decode(errors="replace")
            assert taken == len(tokens), f"{required}: {answer.text!r}, refused at {rest!r}"
            assert matcher.is_accepting() or matcher.is_stopped()


@pytest.mark.parametrize(
    "path", [path for path in RENDERED if path.stem in IN_THE_GENERIC_FORMAT], ids=lambda path: path.stem
)
def test_other_templates_show_calls_in_the_generic_format(path: Path) -> None:
    calls = called("x")
    answer = Answer(path, calls)
    reader = tool_formats()["generic"].reader(TOOLS, thoughts=answer.thoughts, thinks=answer.thinks)
    assert read(reader, answer.text)[2] == calls, answer.text
