"""Words that an answer begins with are continued as the answer, by templates that open thoughts, too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from models.errors import RequestError
from server.chat.begun_answer import BegunAnswer
from server.chat.templates import ChatTemplate
from tests.server.chat.strict_templates import DEEPSEEK_R1, GEMMA, MISTRAL, QWEN3

SOURCES = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")
CHAT = [{"role": "user", "content": "Hi?"}]
WORDS = BegunAnswer("The ")
THOUGHT_OUT = BegunAnswer("The ", "Hm.")
THINKING = BegunAnswer("", "Hm", thinks=True)

OPEN_TAG = (
    "{% for m in messages %}<{{ m.role }}>"
    "{% if m.reasoning %}<think>{{ m.reasoning }}</think>{% endif %}{{ m.content }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{{ '<think>' if enable_thinking else '</think>' }}{% endif %}"
)
CHANNELS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% if m.thinking %}<start>assistant<analysis>{{ m.thinking }}<end>{% endif %}"
    "<start>assistant<final>{{ m.content }}<end>"
    "{% else %}<start>{{ m.role }}<say>{{ m.content }}<end>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<start>assistant{% endif %}"
)
ALWAYS_THINKS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}A<think>\n{{ m.content }}\n{% else %}"
    "U{{ m.content }}\n{% endif %}{% endfor %}{% if add_generation_prompt %}A<think>\n{% endif %}"
)
PARTS = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]"
    "{% elif m.content is string %}{{ m.content }}</s>{% else %}{% for part in m.content %}"
    "{% if part.type == 'thinking' %}[THINK]{{ part.thinking }}[/THINK]{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}</s>{% endif %}{% endfor %}"
)
LABELS = (
    "{% for m in messages %}{{ 'USER' if m.role == 'user' else 'BOT' }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}BOT:{% endif %}"
)
NO_THINKING_BLOCK = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>"
    "{% if not enable_thinking %}<think>\n\n</think>\n{% endif %}{% endif %}"
)


def compiled(source: str) -> ChatTemplate:
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>")


def ending(source: str | ChatTemplate, begun: BegunAnswer, **kwargs: Any) -> str:
    """The prompt behind the user's message."""
    template = compiled(source) if isinstance(source, str) else source
    return template.render(CHAT, begun=begun, template_kwargs=kwargs).split("Hi?", 1)[1]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (MISTRAL, " [/INST]The "),
        (GEMMA, "<end_of_turn>\n<start_of_turn>model\nThe "),
        (LABELS, "\nBOT: The "),
        (QWEN3, "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\nThe "),
        (DEEPSEEK_R1, "<Assistant><think>\n\n</think>\n\nThe "),
        (OPEN_TAG, "</><assistant><think></think>The "),
        (CHANNELS, "<end><start>assistant<final>The "),
        (ALWAYS_THINKS, "\nA<think>\n\n</think>\n\nThe "),
        (PARTS, "[/INST]The "),
        (NO_THINKING_BLOCK, "</><assistant>The "),
    ],
)
def test_words_are_the_answers(source: str, expected: str) -> None:
    assert ending(source, WORDS) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (QWEN3, "<|im_end|>\n<|im_start|>assistant\n<think>\nHm.\n</think>\n\nThe "),
        (DEEPSEEK_R1, "<Assistant><think>\nHm.\n</think>\n\nThe "),
        (OPEN_TAG, "</><assistant><think>Hm.</think>The "),
        (CHANNELS, "<end><start>assistant<analysis>Hm.<end><start>assistant<final>The "),
        (ALWAYS_THINKS, "\nA<think>\nHm.\n</think>\n\nThe "),
        (PARTS, "[/INST][THINK]Hm.[/THINK]The "),
        (NO_THINKING_BLOCK, "</><assistant><think>\nHm.\n</think>\nThe "),
        (GEMMA, "<end_of_turn>\n<start_of_turn>model\nThe "),
    ],
)
def test_thoughts_stand_before_the_words(source: str, expected: str) -> None:
    assert ending(source, THOUGHT_OUT) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (QWEN3, "<|im_end|>\n<|im_start|>assistant\n<think>\nHm"),
        (DEEPSEEK_R1, "<Assistant><think>\nHm"),
        (OPEN_TAG, "</><assistant><think>Hm"),
        (CHANNELS, "<end><start>assistant<analysis>Hm"),
        (PARTS, "[/INST][THINK]Hm"),
        (NO_THINKING_BLOCK, "</><assistant><think>\nHm"),
    ],
)
def test_thoughts_alone_go_on(source: str, expected: str) -> None:
    assert ending(source, THINKING) == expected


def test_without_thinking() -> None:
    off = {"enable_thinking": False}
    assert ending(QWEN3, WORDS, **off).endswith("assistant\n<think>\n\n</think>\n\nThe ")
    assert ending(OPEN_TAG, WORDS, **off) == "</><assistant></think>The "
    assert ending(NO_THINKING_BLOCK, WORDS, **off) == "</><assistant><think>\n\n</think>\nThe "


def test_the_templates_own_empty_block_is_taken() -> None:
    source = OPEN_TAG.replace(
        "{{ m.content }}", "{{ '' if m.reasoning else '<think> </think> ' }}{{ m.content }}"
    )
    assert ending(source, WORDS) == "</><assistant><think> </think> The "


def test_the_chat_stays_one_with_thoughts() -> None:
    """Only the ending is taken from the prompt without thinking, whose system text is another."""
    source = "{{ '/think' if enable_thinking else '/no_think' }}" + NO_THINKING_BLOCK
    text = compiled(source).render(CHAT, begun=THOUGHT_OUT)
    assert text == "/think<user>Hi?</><assistant><think>\nHm.\n</think>\nThe "


def test_a_template_that_always_opens_an_answer() -> None:
    source = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
        "{% if not enable_thinking %}<think></think>{% endif %}"
    )
    assert ending(source, THOUGHT_OUT) == "<assistant><think>Hm.</think>The "
    assert ending(source, THINKING) == "<assistant><think>Hm"
    assert ending(source, WORDS, enable_thinking=False) == "<assistant><think></think>The "


def test_thoughts_where_thinking_is_off() -> None:
    """The template shows them only where it is on; they came from the client, so they stay."""
    source = OPEN_TAG.replace("{% if m.reasoning %}", "{% if m.reasoning and enable_thinking %}")
    off = {"enable_thinking": False}
    assert ending(source, THOUGHT_OUT, **off) == "</><assistant><think>Hm.</think>The "
    assert ending(source, THINKING, **off) == "</><assistant><think>Hm"
    assert ending(source, WORDS, **off) == "</><assistant></think>The "


@pytest.mark.parametrize("source", [GEMMA, MISTRAL, LABELS])
def test_thoughts_without_a_place(source: str) -> None:
    with pytest.raises(RequestError, match="no place for thoughts") as caught:
        ending(source, THINKING)
    assert caught.value.param == "messages[1].reasoning_content"


def test_thoughts_that_the_client_wrote_into_the_content() -> None:
    assert ending(QWEN3, BegunAnswer("<think>\nHm")).endswith("assistant\n<think>\nHm")
    assert ending(DEEPSEEK_R1, BegunAnswer("<think>\nHm")).endswith("<Assistant><think>\nHm")
    assert ending(DEEPSEEK_R1, BegunAnswer("<think>\nHm.\n</think>\n\nThe ")) == ending(
        DEEPSEEK_R1, THOUGHT_OUT
    )
    assert ending(GEMMA, BegunAnswer("<think>\nHm")).endswith("model\n<think>\nHm")
    assert ending(QWEN3, BegunAnswer("2 <think> 3")).endswith("</think>\n\n2 <think> 3")


def test_words_of_the_chat_are_no_block() -> None:
    template = compiled(MISTRAL)
    chat = [{"role": "user", "content": "What does <think> mean?"}]
    assert template.render(chat, begun=WORDS) == "<s>[INST] What does <think> mean? [/INST]The "


def test_a_mark_in_system_text_that_moves_cuts_nothing() -> None:
    """This template writes system text in front of a user's turn that ends the chat, and nowhere else."""
    source = (
        "{% for m in messages %}{% if m.role == 'user' %}[INST]"
        "{% if loop.last and messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}"
        "{{ m.content }}[/INST]{% elif m.role == 'assistant' %}{{ m.content }}</s>"
        "{% elif not loop.first %}{{ raise_exception('late') }}{% endif %}{% endfor %}"
    )
    turns = [{"role": "user", "content": "U1"}, {"role": "assistant", "content": "A1"}, *CHAT]
    chat = [{"role": "system", "content": "Write <think> and </think>."}, *turns]
    for begun in (THOUGHT_OUT, WORDS):
        text = compiled(source).render(chat, begun=begun)
        assert text == "[INST]Write <think> and </think>.\nU1[/INST]A1</s>[INST]Hi?[/INST]The "


def test_a_mark_in_the_chat_is_no_opening_where_system_text_comes_last() -> None:
    """The template writes system text first, and no opening behind a tool's message."""
    source = (
        "{% for m in messages if m.role == 'system' %}{{ m.content }}{% endfor %}"
        "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    )
    chat = [*CHAT, {"role": "user", "content": "<think> or not"}, {"role": "system", "content": "Short."}]
    text = compiled(source).render(chat, begun=THOUGHT_OUT)
    assert text.startswith("Short.<user>Hi?<user><think> or not")
    assert text.endswith("The ")


def test_turns_of_parts_are_not_joined() -> None:
    """The form of an answer with thoughts is looked for in parts, which a strict template refuses here."""
    source = (
        "{% set ns = namespace(last='assistant') %}{% for m in messages %}"
        "{% if m.role == ns.last or m.role == 'system' %}{{ raise_exception('must alternate') }}{% endif %}"
        "{% set ns.last = m.role %}<{{ m.role }}>"
        "{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}"
        "{% if part.type == 'thinking' %}[THINK]{{ part.thinking }}[/THINK]"
        "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}{% endfor %}"
    )
    chat = [*CHAT, {"role": "assistant", "content": "A1"}, {"role": "system", "content": ""}]
    assert compiled(source).render(chat, begun=THOUGHT_OUT).endswith("The ")


def test_an_answer_without_a_chat() -> None:
    template = compiled(GEMMA)
    text = template.render([], begun=WORDS)
    assert text == "<s><start_of_turn>user\n<end_of_turn>\n<start_of_turn>model\nThe "


@pytest.mark.skipif(not SOURCES, reason="CORRAL_LLAMA_CPP_SOURCE doesn't point to llama.cpp's sources")
def test_real_templates() -> None:
    """The words end the prompt; a block that the generation prompt opens is closed before them."""
    for path in sorted((Path(SOURCES or ".") / "models" / "templates").glob("*.jinja")):
        template = compiled(path.read_text())
        opening = template.render(CHAT).rsplit("Hi?", 1)[1]
        prompt = ending(template, WORDS)
        assert prompt.endswith("The "), path.name
        assert prompt.count("<think>") == prompt.count("</think>") or "<think>" not in opening, path.name
        if "<think>" in opening:
            with_thoughts = ending(template, THOUGHT_OUT)
            assert "<think>" in with_thoughts, path.name
            assert (
                with_thoughts.index("<think>") < with_thoughts.index("Hm.") < with_thoughts.index("</think>")
            )
            assert ending(template, THINKING).endswith("Hm"), path.name
