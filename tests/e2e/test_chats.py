"""Chats as front ends send them, through the product: what reaches the demo model, and what is refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.e2e.running import RunningServer

pytestmark = [pytest.mark.e2e, pytest.mark.model]

FORMATS = (None, "alpaca", "vicuna", "vicuna_v0", "koala", "wizardlm")
FRANCE = {"role": "user", "content": "What is the capital of France?"}
BEGUN = {"role": "assistant", "content": "The capital of"}


def post(server: RunningServer, path: str, messages: list[dict[str, Any]], **fields: Any) -> httpx.Response:
    body = {"model": "demo:Q8_0", "messages": messages, "temperature": 0, "max_tokens": 16, **fields}
    return httpx.post(f"{server.url}{path}", json=body, timeout=60)


def prompt(server: RunningServer, messages: list[dict[str, Any]], **fields: Any) -> str:
    response = post(server, "/apply-template", messages, **fields)
    assert response.status_code == 200, response.text
    text: str = response.json()["prompt"]
    return text


def answer(server: RunningServer, messages: list[dict[str, Any]], **fields: Any) -> str:
    response = post(server, "/v1/chat/completions", messages, **fields)
    assert response.status_code == 200, response.text
    text: str = response.json()["choices"][0]["message"]["content"]
    return text


def refusal(server: RunningServer, messages: list[dict[str, Any]], **fields: Any) -> str:
    """The parameter that a 400 names, the same from the chat and from its template."""
    params = set()
    for path in ("/v1/chat/completions", "/apply-template"):
        response = post(server, path, messages, **fields)
        assert response.status_code == 400, response.text
        params.add(response.json()["error"]["param"])
    (param,) = params
    return str(param)


@pytest.mark.parametrize("prompt_format", FORMATS)
def test_a_developer_message_is_a_system_message(
    demo_server: RunningServer, prompt_format: str | None
) -> None:
    def given(role: str) -> str:
        instruction = {"role": role, "content": "Answer in one word."}
        return prompt(demo_server, [instruction, FRANCE, instruction, FRANCE], prompt_format=prompt_format)

    assert given("developer") == given("system")


@pytest.mark.parametrize("prompt_format", FORMATS)
def test_messages_in_a_row_all_arrive(demo_server: RunningServer, prompt_format: str | None) -> None:
    messages = [{"role": "user", "content": "My name is Tom."}, FRANCE]
    text = prompt(demo_server, messages, prompt_format=prompt_format)
    assert text.index("Tom") < text.index("France")
    assert answer(demo_server, messages, prompt_format=prompt_format)


@pytest.mark.parametrize("prompt_format", FORMATS)
def test_a_tools_message_is_refused(demo_server: RunningServer, prompt_format: str | None) -> None:
    messages = [FRANCE, BEGUN, {"role": "tool", "tool_call_id": "c", "content": "Paris"}]
    assert refusal(demo_server, messages, prompt_format=prompt_format).startswith("messages[2]")


@pytest.mark.parametrize("prompt_format", FORMATS)
def test_template_arguments_that_nobody_knows(demo_server: RunningServer, prompt_format: str | None) -> None:
    kwargs = {"enable_thinking": False, "thinking_budget": 0, "x": [{}]}
    with_arguments = prompt(demo_server, [FRANCE], prompt_format=prompt_format, chat_template_kwargs=kwargs)
    assert with_arguments == prompt(demo_server, [FRANCE], prompt_format=prompt_format)


def test_all_parts_of_a_content_arrive(demo_server: RunningServer) -> None:
    parts = [{"type": "text", "text": text} for text in ("alpha", "beta", "")]
    text = prompt(demo_server, [{"role": "system", "content": parts}, {"role": "user", "content": parts}])
    assert text.count("alpha\nbeta\n") == 2


def test_a_begun_answer_goes_on(demo_server: RunningServer) -> None:
    messages = [FRANCE, BEGUN]
    rest = answer(demo_server, messages)
    assert rest.startswith(" France is Paris")
    continued = {"continue_final_message": True, "add_generation_prompt": False}
    assert answer(demo_server, messages, **continued) == rest
    assert answer(demo_server, messages, echo=True) == f"The capital of{rest}"
    assert answer(demo_server, messages, continue_final_message=False) != rest


def test_answers_that_cannot_be_continued(demo_server: RunningServer) -> None:
    assert refusal(demo_server, [FRANCE, BEGUN, BEGUN]) == "messages[2]"
    assert refusal(demo_server, [FRANCE], continue_final_message=True) == "continue_final_message"
    both = {"continue_final_message": True, "add_generation_prompt": True}
    assert refusal(demo_server, [FRANCE, BEGUN], **both) == "continue_final_message"
    thoughts = {"role": "assistant", "content": "", "reasoning_content": "Hm"}
    assert refusal(demo_server, [FRANCE, thoughts]) == "messages[1].reasoning_content"


@pytest.mark.parametrize("role", ["ipython", "System", ""])
def test_unknown_roles(demo_server: RunningServer, role: str) -> None:
    assert refusal(demo_server, [FRANCE, {"role": role, "content": "x"}]) == "messages[1].role"
