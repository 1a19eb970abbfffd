"""Calls that a model's own template renders are read back, and its format's grammar accepts them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import pytest
from llguidance import LLMatcher, LLTokenizer

from server.chat.jinja_environment import environment
from server.chat.tool_formats import lark
from server.chat.tool_formats.registry import detect, tool_formats
from server.chat.tool_formats.tool_format import GrammarJob
from tests.server.chat.tool_formats.sample import CODE, TOOLS, Call, read
from tests.server.chat.tool_formats.test_detection import TEMPLATES

RENDERED = [path for path in TEMPLATES if detect(path.read_text()) is not None]
WITHOUT_CALLS = {
    "ibm-granite-granite-3.3-2B-Instruct": "the template renders no calls of history",
}
CALLS = [
    Call("get_weather", {"city": "Paris"}),
    Call("run", {"code": CODE.strip() + " </b>", "options": {"dry": True, "tags": ["a", {"b": "}"}]}}),
    Call("now", {}),
]
ESCAPED = {"Reka-Edge": "it writes \\u escapes for letters, which the grammar's JSON has as they are"}
TURN_ENDS = (
    *("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "</s>", "<|end_of_text|>", "<sep>", "<|end|>", "<|eot|>"),
    *("<｜end▁of▁sentence｜>", "<|call|>", "<|END_OF_TURN_TOKEN|>", "<seed:eos>", "[e~[", "<|end_of_msg|>"),
    *("<|role_end|>", "</assistant>", "<end_of_sentence>", "<SPECIAL_12>", "<｜hy_eos:opensource｜>"),
)


def conversation(calls: list[Call], *, as_text: bool) -> list[dict[str, Any]]:
    made = [
        {
            "id": f"a1B2c3D4{place}",
            "type": "function",
            "function": {
                "name": call.name,
                "arguments": json.dumps(call.arguments, ensure_ascii=False) if as_text else call.arguments,
            },
        }
        for place, call in enumerate(calls)
    ]
    return [{"role": "user", "content": "Do it."}, {"role": "assistant", "content": "", "tool_calls": made}]


def answer(path: Path, calls: list[Call]) -> str | None:
    """Return what the template makes of an answer with these calls; None if it can't render them."""
    template = environment().from_string(path.read_text())
    tools = [tool.definition() for tool in TOOLS]
    for as_text in (False, True):
        messages = conversation(calls, as_text=as_text)
        try:
            begun, whole = (
                template.render(
                    messages=messages[:n_messages],
                    tools=tools,
                    add_generation_prompt=n_messages == 1,
                    bos_token="",
                    eos_token="</s>",
                    functions="",
                    datetime="",
                    enable_thinking=False,
                )
                for n_messages in (1, 2)
            )
        except (jinja2.TemplateError, TypeError):
            continue
        text = whole
        for _ in range(2):
            text = text.strip().removesuffix("<|im_start|>assistant").strip()
            for end in TURN_ENDS:
                text = text.removesuffix(end)
        begun = begun.rstrip().removesuffix("</think>").rstrip().removesuffix("<think>")
        common = 0
        while common < min(len(begun), len(text)) and begun[common] == text[common]:
            common += 1
        return text[common:]
    return None


@pytest.mark.parametrize("n_calls", [1, 3])
@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.stem)
def test_calls_are_read_back(path: Path, n_calls: int) -> None:
    if path.stem in WITHOUT_CALLS:
        pytest.skip(WITHOUT_CALLS[path.stem])
    for calls in [[call] for call in CALLS] if n_calls == 1 else [CALLS]:
        raw = answer(path, calls)
        if raw is None:
            assert n_calls == 3 or path.stem.startswith("meta-llama")
            pytest.skip("the template renders no more than one call")
        name = detect(path.read_text())
        assert name is not None
        known = tool_formats()[name]
        assert read(known.reader(TOOLS, thoughts=("<think>", "</think>"), thinks=False), raw)[2] == calls, raw
        job = GrammarJob(
            tools=TOOLS,
            required=False,
            parallel=True,
            mark=lark.quoted,
            is_token=lambda mark: mark == "[CALL_ID]",
        )
        matcher = LLMatcher(LLTokenizer("byte"), known.grammar(job))
        if path.stem in ESCAPED and "\\u" in raw:
            continue
        text = raw.strip().partition("</think>")[2].strip() or raw.strip()
        tokens = list(text.encode())
        taken = matcher.try_consume_tokens(tokens)
        assert taken == len(tokens), f"{text.encode()[:taken]!r} | {text.encode()[taken:]!r}"
        assert matcher.is_accepting() or matcher.is_stopped()
