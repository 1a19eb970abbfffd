from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from models.errors import RequestError
from server.chat.prompt_formats import PROMPT_FORMATS
from server.chat.render import ChatRenderer, RenderedPrompt
from tests.clients.chat_template import CHAT_TEMPLATE

USER = {"role": "user", "content": "Hi"}
VICUNA_JINJA = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}USER: {{ m.content }} "
    "{% elif m.role == 'assistant' %}ASSISTANT: {{ m.content }}{{ eos_token }}"
    "{% else %}{{ m.content }} {% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
Make = Callable[..., ChatRenderer]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[ChatRenderer] = []

    def maker(template: str | None = None, name: str = "model", **options: Any) -> ChatRenderer:
        metadata = options.pop("metadata", {})
        made.append(ChatRenderer(template, "<s>", "</s>", name, metadata, **options))
        return made[-1]

    yield maker
    for renderer in made:
        renderer.close()


def test_request_beats_constructor_beats_detection(make: Make) -> None:
    assert make(name="vicuna-7b-v1.5").name == "vicuna"
    renderer = make(name="vicuna-7b-v1.5", prompt_format="koala")
    assert renderer.name == "koala"
    assert renderer.render([USER]).text.endswith("GPT:")
    assert renderer.render([USER], prompt_format="alpaca").text.endswith("### Response:")


def test_whether_a_model_knows_calls(make: Make) -> None:
    assert make(CHAT_TEMPLATE).knows_calls
    assert make(VICUNA_JINJA, tool_use_template=CHAT_TEMPLATE).knows_calls
    assert not make(VICUNA_JINJA).knows_calls
    assert not make(name="vicuna-7b-v1.5").knows_calls
    assert not make(CHAT_TEMPLATE, prompt_format="alpaca").knows_calls


def test_a_built_in_format(make: Make) -> None:
    prompt = make(name="vicuna-7b-v1.5").render([USER])
    assert prompt.text.endswith("USER: Hi ASSISTANT:")
    assert prompt.stops == ("</s>",)
    assert prompt.strip_leading_space
    assert prompt.add_bos


def test_reasoning_effort_is_for_templates_that_know_it(make: Make) -> None:
    """Clients send it to any model."""
    effort = {"reasoning_effort": "low"}
    plain = make(name="vicuna-7b-v1.5")
    assert plain.render([USER], template_kwargs=effort) == plain.render([USER])
    knows = make("{{ messages[0].content }}{% if reasoning_effort %} {{ reasoning_effort }}{% endif %}")
    assert knows.render([USER], template_kwargs=effort).text == "Hi low"
    assert knows.render([USER]).text == "Hi"


def test_the_models_template(make: Make) -> None:
    renderer = make(VICUNA_JINJA)
    assert renderer.name == "template"
    assert renderer.render([USER]) == RenderedPrompt(
        "<s>USER: Hi ASSISTANT:", (), strip_leading_space=True, add_bos=False
    )


def test_bos_counts_once(make: Make) -> None:
    adds = make(VICUNA_JINJA, metadata={"tokenizer.ggml.add_bos_token": "true"}).render([USER])
    assert (adds.text, adds.add_bos) == ("USER: Hi ASSISTANT:", True)
    does_not = make(VICUNA_JINJA, metadata={"tokenizer.ggml.add_bos_token": "false"}).render([USER])
    assert (does_not.text, does_not.add_bos) == ("<s>USER: Hi ASSISTANT:", False)
    writes_none = make("{{ messages[0].content }}:").render([USER])
    assert (writes_none.text, writes_none.add_bos) == ("Hi:", True)


def test_no_space_is_stripped_after_other_ends(make: Make) -> None:
    assert not make("{{ messages[0].content }}\n").render([USER]).strip_leading_space
    assert not make("{{ messages[0].content }}: ").render([USER]).strip_leading_space
    assert not make(VICUNA_JINJA).render([USER], add_generation_prompt=False).strip_leading_space


def begun(content: str = "The list:", **fields: Any) -> list[dict[str, Any]]:
    return [USER, {"role": "assistant", "content": content, **fields}]


@pytest.mark.parametrize("template", [None, VICUNA_JINJA])
def test_an_answer_that_was_begun_is_continued(make: Make, template: str | None) -> None:
    renderer = make(template, prompt_format=None if template else "vicuna")
    prompt = renderer.render(begun())
    assert prompt.text.endswith("USER: Hi ASSISTANT: The list:")
    assert not prompt.strip_leading_space
    assert prompt.begun == "The list:"
    assert renderer.render(begun(), continuation=True, add_generation_prompt=False) == prompt


@pytest.mark.parametrize("template", [None, VICUNA_JINJA])
@pytest.mark.parametrize("content", ["", None])
def test_an_empty_answer_that_is_to_be_continued_just_begins(
    make: Make, template: str | None, content: str | None
) -> None:
    renderer = make(template, name="vicuna-7b-v1.5")
    chat: list[dict[str, Any]] = [USER, {"role": "assistant", "content": content}]
    expected = renderer.render([USER])
    assert expected.text.endswith("ASSISTANT:")
    assert renderer.render(chat, continuation=True, add_generation_prompt=False) == expected
    assert renderer.render(chat) == expected


@pytest.mark.parametrize("template", [None, VICUNA_JINJA])
def test_an_answer_that_is_complete(make: Make, template: str | None) -> None:
    renderer = make(template, prompt_format=None if template else "vicuna")
    another = renderer.render(begun(), continuation=False)
    assert another.text.endswith("USER: Hi ASSISTANT: The list:</s>ASSISTANT:")
    assert another.strip_leading_space
    assert another.begun == ""
    ended = renderer.render(begun(), add_generation_prompt=False)
    assert ended.text.endswith("USER: Hi ASSISTANT: The list:</s>")


@pytest.mark.parametrize("name", [*sorted(PROMPT_FORMATS), "template"])
def test_answers_that_cannot_be_continued_are_refused_by_every_format(make: Make, name: str) -> None:
    renderer = make(VICUNA_JINJA)
    for messages, param in (
        ([*begun("a"), {"role": "assistant", "content": "b"}], "messages[2]"),
        (begun("", reasoning_content="Hm"), "messages[1].reasoning_content"),
    ):
        with pytest.raises(RequestError) as caught:
            renderer.render(messages, prompt_format=name)
        assert caught.value.param == param


@pytest.mark.parametrize("name", [*sorted(PROMPT_FORMATS), "template"])
def test_an_answer_alone_is_continued_by_every_format(make: Make, name: str) -> None:
    prompt = make(VICUNA_JINJA).render(begun("The")[1:], prompt_format=name)
    assert prompt.text.endswith(" The")


@pytest.mark.parametrize("name", [*sorted(PROMPT_FORMATS), "template"])
def test_a_developer_message_gives_what_a_system_message_gives(make: Make, name: str) -> None:
    renderer = make(VICUNA_JINJA)
    first, late = (
        [{"role": role, "content": "Be brief."}, USER, *begun(), {"role": role, "content": "Now."}, USER]
        for role in ("system", "developer")
    )
    assert renderer.render(first, prompt_format=name) == renderer.render(late, prompt_format=name)


def test_thoughts_before_an_answer_are_left_out_where_there_are_none(make: Make) -> None:
    renderer = make(VICUNA_JINJA)
    assert renderer.render(begun(reasoning_content="Hm")) == renderer.render(begun())


@pytest.mark.parametrize("key", ["messages", "tools", "range"])
def test_reserved_template_arguments_mean_nothing_to_a_built_in_format(make: Make, key: str) -> None:
    renderer = make(name="vicuna")
    assert renderer.render([USER], template_kwargs={key: 1}) == renderer.render([USER])


@pytest.mark.parametrize("key", ["messages", "tools", "bos_token", "add_generation_prompt", "namespace"])
def test_reserved_template_arguments(make: Make, key: str) -> None:
    with pytest.raises(RequestError) as caught:
        make(VICUNA_JINJA).render([USER], template_kwargs={key: "x"})
    assert caught.value.param == f"chat_template_kwargs.{key}"


def test_template_asked_for_where_there_is_none(make: Make) -> None:
    with pytest.raises(RequestError, match="holds no chat template"):
        make(name="vicuna").render([USER], prompt_format="template")


def test_no_messages(make: Make) -> None:
    with pytest.raises(RequestError) as caught:
        make().render([])
    assert caught.value.param == "messages"


def test_an_unknown_format_in_the_constructor(make: Make) -> None:
    with pytest.raises(RequestError, match="did you mean"):
        make(prompt_format="vicunna")
