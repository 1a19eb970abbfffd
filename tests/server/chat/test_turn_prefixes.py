"""A prompt goes on from the last one and its answer, as far as the model's template allows it.

An answer's raw text is what the template itself writes behind the generation prompt. It is read, sent back by
all protocols, and rendered again with what follows. The new prompt then has the old one and the answer whole;
or only the old `prompt`; or what stands in front of the `opening` of an answer; or `less`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from models.errors import RequestError
from server.chat.render import GENERIC
from server.chat.template_prompt import TemplatePrompt
from server.chat.templates import ChatTemplate
from server.chat.thinking import Thinking, thinking_variables
from server.chat.tool_formats.registry import detect
from server.chat.tools import Tool
from server.engine.events import AnswerForm
from tests.server.chat.tool_chats import SYSTEM, TOOL, USER, answer, call
from tests.server.chat.turn import next_chat, read_answer

SOURCES = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")

pytestmark = pytest.mark.skipif(
    not SOURCES, reason="CORRAL_LLAMA_CPP_SOURCE doesn't point to llama.cpp's sources"
)

WEATHER = Tool(name="get_weather", description="Get the weather.", parameters=TOOL["function"]["parameters"])
HMM = "Hmm so."
CASES: dict[str, dict[str, Any]] = {
    "content": {"role": "assistant", "content": "It is warm."},
    "call": answer("", call(1, "Oslo")),
    "two calls": answer("", call(1, "Oslo"), call(2, "Bern")),
    "both": answer("I look.", call(1, "Oslo")),
    "thoughts": {"role": "assistant", "content": "It is warm.", "reasoning_content": HMM},
    "thoughts and call": answer("", call(1, "Oslo"), reasoning_content=HMM),
}
ENDS = (
    *("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "</s>", "<|end_of_text|>", "<sep>", "<|end|>", "<|eot|>"),
    *("<｜end▁of▁sentence｜>", "<|call|>", "<|END_OF_TURN_TOKEN|>", "<seed:eos>", "[e~[", "<|end_of_msg|>"),
    *("<|role_end|>", "</assistant>", "<end_of_sentence>", "<SPECIAL_12>", "<｜hy_eos:opensource｜>"),
    *("<|message_sep|>", "<turn|>", "<|tool_response>", "<|return|>", "<|eot_id|>", "<end_of_turn>"),
    *("<|start_header_id|>assistant<|end_header_id|>", "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"),
)

_STRIPPED = "thoughts of answers in front of the last user's turn are stripped"
_ALWAYS = "thoughts of earlier answers are stripped, and a block of them that the prompt opens or closes"
_EMPTY = "the prompt closes an empty block of thoughts that earlier answers don't show"
_BOTH = f"{_STRIPPED}; {_EMPTY}"

EXCEPTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "upstage-Solar-Open-100B": (_STRIPPED, {"thoughts": "prompt"}),
    "GLM-4.6": (_STRIPPED, {"thoughts": "prompt"}),
    "GLM-4.7-Flash": (_STRIPPED, {"thoughts": "opening"}),
    "LFM2.5-8B-A1B": (_STRIPPED, {"thoughts": "prompt"}),
    "MiniMax-M2": (_STRIPPED, {"thoughts": "opening"}),
    "Mistral-Small-3.2-24B-Instruct-2506": (
        "the tools stand in front of the last user's turn",
        {"content": "less", "content, not thinking": "less"},
    ),
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": (_STRIPPED, {"thoughts": "opening"}),
    "NVIDIA-Nemotron-Nano-v2": (_ALWAYS, {"thoughts and call": "opening"}),
    "Qwen-QwQ-32B": (
        _ALWAYS,
        {
            "thoughts": "opening",
            "thoughts and call": "opening",
            "content, not thinking": "opening",
            "call, not thinking": "opening",
            "two calls, not thinking": "opening",
            "both, not thinking": "opening",
        },
    ),
    "Qwen-Qwen3-0.6B": (
        _BOTH,
        {
            "content": "prompt",
            "call": "prompt",
            "two calls": "prompt",
            "both": "prompt",
            "thoughts": "prompt",
            "content, not thinking": "opening",
            "call, not thinking": "opening",
            "two calls, not thinking": "opening",
            "both, not thinking": "opening",
        },
    ),
    "Qwen3.5-4B": (_BOTH, {"thoughts": "opening", "content, not thinking": "opening"}),
    "Reka-Edge": (_STRIPPED, {"thoughts": "opening"}),
    "StepFun3.5-Flash": (_STRIPPED, {"thoughts": "opening"}),
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": (
        _ALWAYS,
        {"thoughts": "opening", "thoughts and call": "opening"},
    ),
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": (
        _ALWAYS,
        {
            "thoughts": "opening",
            "thoughts and call": "opening",
            "content, not thinking": "opening",
            "call, not thinking": "opening",
            "two calls, not thinking": "opening",
            "both, not thinking": "opening",
        },
    ),
    "deepseek-ai-DeepSeek-V3.2": (
        _BOTH,
        {
            "thoughts": "opening",
            "content, not thinking": "opening",
            "call, not thinking": "opening",
            "two calls, not thinking": "opening",
            "both, not thinking": "opening",
        },
    ),
    "google-gemma-4-31B-it-interleaved": (
        _EMPTY,
        {
            "content, not thinking": "opening",
            "call, not thinking": "opening",
            "two calls, not thinking": "opening",
        },
    ),
    "google-gemma-4-31B-it": (
        _EMPTY,
        {
            "content, not thinking": "opening",
            "call, not thinking": "opening",
            "two calls, not thinking": "opening",
        },
    ),
    "llama-cpp-deepseek-r1": (_ALWAYS, {"thoughts": "opening", "thoughts and call": "opening"}),
    "llama-cpp-rwkv-world": (
        _ALWAYS,
        {
            "thoughts": "opening",
            "thoughts and call": "opening",
            "content, not thinking": "opening",
            "call, not thinking": "opening",
            "two calls, not thinking": "opening",
            "both, not thinking": "opening",
        },
    ),
    "openai-gpt-oss-120b": (
        "thoughts of earlier turns are stripped; of two calls each has a message of its own",
        {"two calls": "prompt", "thoughts": "prompt", "two calls, not thinking": "prompt"},
    ),
    "openbmb-MiniCPM5-1B": (
        _BOTH,
        {
            "thoughts": "opening",
            "content, not thinking": "opening",
            "call, not thinking": "opening",
            "two calls, not thinking": "opening",
            "both, not thinking": "opening",
        },
    ),
    "tencent-Hy3": (_EMPTY, {"thoughts": "opening", "thoughts and call": "opening"}),
    "unsloth-Apriel-1.5": (
        "each call's id, which is ours, stands behind its arguments",
        {
            "call": "prompt",
            "two calls": "prompt",
            "both": "prompt",
            "call, not thinking": "prompt",
            "two calls, not thinking": "prompt",
            "both, not thinking": "prompt",
        },
    ),
}
"""The templates that don't let a prompt go on from each answer: the reason, and how much is kept then."""

UNMEASURED = {
    "Apriel-1.6-15b-Thinker-fixed": "its generation prompt opens thoughts in words that answers don't show",
    "CohereForAI-c4ai-command-r-plus-tool_use": "instructions follow the chat, so each prompt ends anew",
    "mistralai-Mistral-Nemo-Instruct-2407": "the tools stand in front of a user's turn only if that is last",
}
"""The templates whose finished answers don't follow their prompt, so that there is no raw text to compare."""


def turn(template: ChatTemplate, source: str, case: str, *, thinks: bool) -> str | None:
    """Return how much of the old prompt and an answer the next prompt has.

    None where the template writes no such answer, or writes it in several messages.
    """
    options: dict[str, Any] = {"tools": [TOOL]}
    if not thinks:
        options["template_kwargs"] = thinking_variables(Thinking(enabled=False))
    opened = template.prompt([SYSTEM, USER], **options)
    message = CASES[case]
    raw = raw_answer(template, opened, message, options)
    if raw is None:
        return None
    known = GENERIC if opened.is_generic else detect(source) or GENERIC
    form = AnswerForm(tool_format=known, thoughts=opened.thoughts, thinks=opened.thinks)
    # A space behind a colon belongs to the format.
    read = read_answer(raw.removeprefix(" ") if opened.text.endswith(":") else raw, form, WEATHER)
    calls = message.get("tool_calls") or []
    given = (message["content"], message.get("reasoning_content", ""), len(calls))
    if (read.content.strip(), read.thoughts, len(read.calls)) != given:
        return None
    text = template.render(next_chat(read, "31 deg", "And?"), **options)
    if text.startswith(opened.text + raw):
        return "whole"
    if text.startswith(opened.text):
        return "prompt"
    bare = template.render([SYSTEM, USER], add_generation_prompt=False, **options)
    return "opening" if text.startswith(opened.text[: common(bare, opened.text)]) else "less"


def raw_answer(
    template: ChatTemplate, opened: TemplatePrompt, message: dict[str, Any], options: dict[str, Any]
) -> str | None:
    """Return what a model writes behind the generation prompt, without the mark of a turn's end."""
    thoughts = message.get("reasoning_content")
    if opened.thinks and not thoughts:
        return None
    try:
        text = template.render([SYSTEM, USER, message], add_generation_prompt=False, **options)
    except RequestError:
        return None
    for _ in range(3):
        text = text.rstrip()
        for end in ENDS:
            text = text.removesuffix(end)
    at = common(text, opened.text)
    if at == len(opened.text):
        return text[at:]
    if opened.thinks:  # the template strips thoughts
        at = opened.text.rindex((opened.thoughts or ("",))[0])
        return f"{thoughts}{opened.closing}{text[at:].lstrip()}"
    closed = opened.text.rstrip()[: -len(opened.thoughts[1])] if opened.thoughts else ""
    if opened.thoughts and opened.text.rstrip().endswith(opened.thoughts[1]):  # an empty block of thoughts
        return text[closed.rindex(opened.thoughts[0]) :].lstrip()
    return text[at:]


def common(first: str, second: str) -> int:
    pairs = zip(first, second, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def kept(path: Path) -> dict[str, str]:
    source = path.read_text()
    template = ChatTemplate(source, bos_token="<s>", eos_token="</s>")
    found: dict[str, str] = {}
    for thinks in (True, False):
        for case in CASES:
            if thinks or "thoughts" not in case:
                how = turn(template, source, case, thinks=thinks)
                found[case if thinks else f"{case}, not thinking"] = how or "none"
    return found


def test_prompts_go_on_from_answers() -> None:
    differ, measured = {}, set()
    for path in sorted((Path(SOURCES or ".") / "models" / "templates").glob("*.jinja")):
        found = {case: how for case, how in kept(path).items() if how != "none"}
        measured |= {path.stem} if found else set()
        ends = {case: how for case, how in found.items() if how != "whole"}
        if ends:
            differ[path.stem] = ends
        else:
            assert path.stem not in EXCEPTIONS
        if not found:
            assert path.stem in UNMEASURED
    assert differ == {name: cases for name, (_, cases) in EXCEPTIONS.items()}
    assert not measured & UNMEASURED.keys()
