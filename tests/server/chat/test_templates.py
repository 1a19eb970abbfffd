from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from models.errors import RequestError
from server.chat.templates import ChatTemplate

CHATML = (
    "{% for message in messages %}\n"
    "    {%- if loop.first and message.role != 'system' %}"
    "{{ '<|im_start|>system\\nDefault<|im_end|>\\n' }}{% endif %}\n"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}\n"
)
ALTERNATES = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if message.role == 'user' %}[INST] {{ message.content | trim }} [/INST]"
    "{% else %}{{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
DROPS_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'user' %}U:{{ m.content }};"
    "{% elif m.role == 'assistant' %}A:{{ m.content }};{% endif %}{% endfor %}"
)
TYPED = (
    "{% for m in messages %}{{ m.role }}={% for part in m.content %}{{ part.text }}{% endfor %};{% endfor %}"
)

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello"}


def render(source: str, *messages: dict[str, Any], **options: Any) -> str:
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>").render(list(messages), **options)


def test_chatml() -> None:
    assert render(CHATML, SYSTEM, USER) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert render(CHATML, USER, add_generation_prompt=False) == (
        "<|im_start|>system\nDefault<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    )


def test_a_template_that_refuses_system_messages_gets_them_in_the_first_user_turn() -> None:
    assert render(ALTERNATES, SYSTEM, USER, ANSWER, USER) == (
        "<s>[INST] Be brief.\n\nHi [/INST]Hello</s>[INST] Hi [/INST]"
    )


def test_a_template_that_drops_system_messages_gets_them_in_the_first_user_turn() -> None:
    assert render(DROPS_SYSTEM, SYSTEM, USER) == "U:Be brief.\n\nHi;"


def test_a_developer_message_is_a_system_message() -> None:
    assert render(DROPS_SYSTEM, {"role": "developer", "content": "Rule"}, USER) == "U:Rule\n\nHi;"


def test_a_system_message_alone_becomes_the_user_turn() -> None:
    assert render(ALTERNATES, SYSTEM) == "<s>[INST] Be brief. [/INST]"


def test_typed_contents() -> None:
    assert render(TYPED, SYSTEM, USER) == "system=Be brief.;user=Hi;"


def test_refused_messages_say_why() -> None:
    with pytest.raises(RequestError, match="roles must alternate") as caught:
        render(ALTERNATES, USER, USER)
    assert caught.value.param == "messages"


def test_invalid_jinja_is_a_request_error() -> None:
    with pytest.raises(RequestError, match="not valid Jinja"):
        ChatTemplate("{% for %}")


def test_blocks_are_trimmed_and_loops_have_controls() -> None:
    stop = "  {% if m.content == 'stop' %}\n{% break %}\n  {% endif %}\n"
    source = "{% for m in messages %}\n" + stop + "{{ m.content }}\n{% endfor %}"
    assert render(source, USER, {"role": "assistant", "content": "stop"}, ANSWER) == "Hi\n"


def test_tojson_escapes_neither_html_nor_unicode() -> None:
    assert render("{{ {'a': '<é>'} | tojson }}", USER) == '{"a": "<é>"}'


def test_generation_blocks_are_printed_and_open_no_scope() -> None:
    source = "{% generation %}{% set x = 'seen' %}[{{ x }}]{% endgeneration %}{{ x }}"
    assert render(source, {"role": "assistant", "content": "x"}) == "[seen]seen"


def test_strftime_now_and_template_arguments() -> None:
    text = render("{{ strftime_now('%Y') }} {{ thinking }}", ANSWER, template_kwargs={"thinking": "off"})
    year, word = text.split()
    assert len(year) == 4
    assert year.isdigit()
    assert word == "off"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__.x }}",
        "{{ messages.append('x') }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ raise_exception.__globals__.json.x }}",
        "{{ '{0.__class__.__mro__}'.format(1).x.y }}",
    ],
)
def test_the_sandbox_lets_nothing_out(source: str) -> None:
    with pytest.raises(RequestError):
        render(source, ANSWER)


SOURCES = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")
KNOWN_FAILURES = 2


@pytest.mark.skipif(not SOURCES, reason="CORRAL_LLAMA_CPP_SOURCE doesn't point to llama.cpp's sources")
def test_real_templates() -> None:
    paths = sorted((Path(SOURCES or ".") / "models" / "templates").glob("*.jinja"))
    assert len(paths) >= 70
    messages = [
        {"role": "system", "content": "You are SYSTEM-1."},
        {"role": "user", "content": "USER-1"},
        {"role": "assistant", "content": "ANSWER-1"},
        {"role": "user", "content": "USER-2"},
    ]
    failed = []
    for path in paths:
        try:
            text = ChatTemplate(path.read_text(), bos_token="<s>", eos_token="</s>").render(messages)
        except RequestError as error:
            failed.append(f"{path.name}: {error.message}")
            continue
        if not all(word in text for word in ("SYSTEM-1", "USER-1", "USER-2")):
            failed.append(f"{path.name}: a message is missing")
    assert len(failed) <= KNOWN_FAILURES, "\n".join(failed)
