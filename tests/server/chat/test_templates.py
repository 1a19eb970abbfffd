from __future__ import annotations

from datetime import datetime, timedelta
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
        "<s>[INST] Be brief.\nHi [/INST]Hello</s>[INST] Hi [/INST]"
    )


def test_a_template_that_drops_system_messages_gets_them_in_the_first_user_turn() -> None:
    assert render(DROPS_SYSTEM, SYSTEM, USER) == "U:Be brief.\nHi;"


def test_a_developer_message_is_a_system_message() -> None:
    developer = {"role": "developer", "content": "Be brief."}
    for source in (CHATML, ALTERNATES, DROPS_SYSTEM, TYPED):
        assert render(source, developer, USER) == render(source, SYSTEM, USER)


def test_a_system_message_alone_becomes_the_user_turn() -> None:
    assert render(ALTERNATES, SYSTEM) == "<s>[INST] Be brief. [/INST]"


def test_typed_contents() -> None:
    assert render(TYPED, SYSTEM, USER) == "system=Be brief.;user=Hi;"


def test_refused_messages_say_why() -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'user' and not loop.first %}"
        "{{ raise_exception('no') }}{% endif %}"
        "{{ m.content }}{% endfor %}"
    )
    refused = {"role": "user", "content": "Hello?"}
    with pytest.raises(RequestError, match=r"refuses messages\[2\], of role 'user': ") as caught:
        render(source, USER, ANSWER, refused)
    assert caught.value.param == "messages[2]"


def test_invalid_jinja_is_a_request_error() -> None:
    with pytest.raises(RequestError, match="not valid Jinja"):
        ChatTemplate("{% for %}")


def test_blocks_are_trimmed_and_loops_have_controls() -> None:
    stop = "  {% if m.content == 'stop' %}\n{% break %}\n  {% endif %}\n"
    source = "{% for m in messages %}\n" + stop + "{{ m.content }}\n{% endfor %}"
    assert render(source, USER, {"role": "assistant", "content": "stop"}, ANSWER) == "Hi\n"


def test_tojson_escapes_neither_html_nor_unicode() -> None:
    assert (
        render("{{ {'a': messages[0].content} | tojson }}", {"role": "user", "content": "<é>"})
        == '{"a": "<é>"}'
    )


def test_generation_blocks_are_printed_and_open_no_scope() -> None:
    source = "{% generation %}{% set x = messages[0].content %}[{{ x }}]{% endgeneration %}{{ x }}"
    assert render(source, ANSWER) == "[Hello]Hello"


def test_strftime_now_and_template_arguments() -> None:
    source = "{{ strftime_now('%Y') }} {{ thinking }} {{ messages[0].content }}"
    year, word, _ = render(source, ANSWER, template_kwargs={"thinking": "off"}).split()
    assert len(year) == 4
    assert year.isdigit()
    assert word == "off"


def test_every_template_gets_the_date_and_thinks_unless_told_otherwise() -> None:
    """Llama 3's falls back to a day in 2024 and hybrid ones to no thinking, where these are undefined."""
    llama_3 = "{% if not date_string is defined %}{% set date_string = '26 Jul 2024' %}{% endif %}"
    source = llama_3 + "{{ date_string }}|{{ datetime }}|{{ enable_thinking }}|{{ messages[0].content }}"
    today = datetime.now().astimezone()
    assert render(source, USER) in {
        f"{day:%d %b %Y}|{day:%b %d %Y}|True|Hi" for day in (today, today - timedelta(seconds=30))
    }
    given = {"date_string": "26 Jul 2024", "enable_thinking": False}
    assert render(source, USER, template_kwargs=given).startswith("26 Jul 2024|")
    assert "|False|" in render(source, USER, template_kwargs=given)


def test_thoughts_of_earlier_answers_have_all_of_their_names() -> None:
    source = (
        "{% for m in messages %}{{ m.content, m.reasoning_content, m.reasoning, m.thinking }}{% endfor %}"
    )
    assert render(source, {**ANSWER, "reasoning_content": "Hm"}) == "('Hello', 'Hm', 'Hm', 'Hm')"
    assert "Hm" not in render(source, ANSWER)


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
