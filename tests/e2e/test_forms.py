"""Answers of a given form through the product: each name of a form, and with what else a request can ask."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

import httpx
import pytest
from pydantic import BaseModel, Field

from tests.e2e.guided_answers import problem
from tests.e2e.running import RunningServer

pytestmark = [pytest.mark.e2e, pytest.mark.model]

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "kind": {"enum": ["cat", "dog", 5]},
        "sizes": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "maxItems": 2},
    },
    "required": ["name", "kind", "sizes"],
    "additionalProperties": False,
}
UNHELD = {"not": {"pattern": "a"}}
TREE = 'root ::= "(" root ")" | [a-c]{1,3}'
FORMS: dict[str, tuple[dict[str, Any], Any]] = {
    "openai": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
        SCHEMA,
    ),
    "strict": (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "strict": True, "schema": SCHEMA},
            }
        },
        SCHEMA,
    ),
    "llama-server": ({"json_schema": SCHEMA}, SCHEMA),
    "llama-cpp-python": ({"response_format": {"type": "json_object", "schema": SCHEMA}}, SCHEMA),
    "hugging face": ({"response_format": {"type": "json", "value": SCHEMA}}, SCHEMA),
    "vllm": ({"guided_json": SCHEMA}, SCHEMA),
    "vllm's object": ({"structured_outputs": {"json": SCHEMA}}, SCHEMA),
    "regex": ({"regex": "[a-c]{2}-[0-9]{1,3}"}, r"[a-c]{2}-[0-9]{1,3}"),
    "guided_regex": ({"guided_regex": "(yes|no)!"}, "(yes|no)!"),
    "hugging face's regex": ({"response_format": {"type": "regex", "value": "x{2,4}"}}, "x{2,4}"),
    "choice": ({"choice": ["red", "reddish", "blue"]}, "red|reddish|blue"),
    "guided_choice": ({"guided_choice": ["a b", "é/"]}, "a b|é/"),
    "gbnf": ({"grammar": TREE}, r"\(*[a-c]{1,3}\)*"),
    "lark": ({"lark": 'start: "a" N\nN: /[0-9]{2}/'}, "a[0-9]{2}"),
    "lark as grammar": ({"grammar": 'start: "a" "b"'}, "ab"),
}
WAYS: dict[str, dict[str, Any]] = {
    "sampled": {"seed": 1, "temperature": 1},
    "greedy": {"temperature": 0},
    "penalties": {"seed": 2, "presence_penalty": 1, "frequency_penalty": 1, "repeat_penalty": 1.3},
    "drafts": {"seed": 3, "speculate": "ngram"},
    "no drafts": {"seed": 3, "speculate": False},
}


def ask(server: RunningServer, path: str, **fields: Any) -> dict[str, Any]:
    question: dict[str, Any] = {"prompt": "hi"}
    if path == "chat/completions":
        question = {"messages": [{"role": "user", "content": "hi"}]}
    response = httpx.post(
        f"{server.url}/v1/{path}", json={**question, "max_tokens": 300, **fields}, timeout=120
    )
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def texts(answer: dict[str, Any]) -> list[str]:
    """The texts of the choices that finished."""
    return [
        choice["message"]["content"] if "message" in choice else choice["text"]
        for choice in answer["choices"]
        if choice["finish_reason"] == "stop"
    ]


def assert_form(text: str, form: Any) -> None:
    if isinstance(form, str):
        assert re.fullmatch(form, text), text
    else:
        assert problem(text, form) is None, text


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
@pytest.mark.parametrize("name", FORMS)
def test_each_name_of_a_form(forms_server: RunningServer, name: str, path: str) -> None:
    fields, form = FORMS[name]
    found = texts(ask(forms_server, path, n=3, seed=4, **fields))
    assert found or name == "gbnf", "none of three has an end"
    for text in found:
        assert_form(text, form)


@pytest.mark.parametrize("way", WAYS)
def test_forms_hold_however_tokens_are_chosen(forms_server: RunningServer, way: str) -> None:
    fields, form = FORMS["openai"]
    answers = [ask(forms_server, "chat/completions", **fields, **WAYS[way]) for _ in range(2)]
    (text,) = texts(answers[0])
    assert_form(text, form)
    assert texts(answers[1]) == [text], "the same seed, and the prompt comes from the cache"


def test_a_stream_is_the_whole_answer(forms_server: RunningServer) -> None:
    fields, form = FORMS["openai"]
    whole = texts(ask(forms_server, "chat/completions", seed=7, **fields))
    chunks = forms_server.client.chat.completions.create(
        model="pico", messages=[{"role": "user", "content": "hi"}], seed=7, stream=True, max_tokens=300,
        response_format=fields["response_format"],
    )  # fmt: skip
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert_form(text, form)
    assert [text] == whole


def test_logprobs_are_those_of_the_answer_s_tokens(forms_server: RunningServer) -> None:
    answer = ask(
        forms_server, "chat/completions", seed=5, logprobs=True, top_logprobs=2, json_schema=SCHEMA, n=2
    )
    for choice in answer["choices"]:
        content = choice["logprobs"]["content"]
        pieces = b"".join(bytes(token["bytes"]) for token in content)
        assert pieces.decode() == choice["message"]["content"]
        assert all(token["logprob"] <= 0 for token in content)
    n_tokens = sum(len(choice["logprobs"]["content"]) for choice in answer["choices"])
    assert n_tokens <= answer["usage"]["completion_tokens"] <= n_tokens + 2


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
@pytest.mark.parametrize("name", ["openai", "llama-server", "vllm", "choice", "guided_choice"])
def test_a_stop_string_cuts_no_document_and_no_choice(
    forms_server: RunningServer, name: str, path: str
) -> None:
    """Stop strings count where an answer may be cut: `docs/chats.md`."""
    fields, form = FORMS[name]
    for seed in range(5, 8):
        stop = ['"kind', "{", "e", " "]
        (text,) = texts(ask(forms_server, path, seed=seed, stop=stop, **fields))
        assert_form(text, form)


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
@pytest.mark.parametrize("name", ["regex", "hugging face's regex", "gbnf", "lark", "lark as grammar"])
def test_a_stop_string_cuts_what_follows_a_grammar(forms_server: RunningServer, name: str, path: str) -> None:
    fields, _ = FORMS[name]
    fields = {**fields, "seed": 11, "n": 3}
    found = texts(ask(forms_server, path, **fields))
    assert found
    for whole in found:
        stop = whole[-2:]
        cut = ask(forms_server, path, **fields, stop=stop)
        expected = whole[: whole.index(stop)]
        assert expected in texts(cut)
        assert streamed(forms_server, path, **fields, stop=stop) == texts(cut)
        unfit = ask(forms_server, path, **fields, stop=f"{stop}!")
        assert whole in texts(unfit), "what was held back and became no stop string is told"


def streamed(server: RunningServer, path: str, **fields: Any) -> list[str]:
    """The texts of the choices that finished, as a stream tells them."""
    question: dict[str, Any] = {"prompt": "hi"}
    if path == "chat/completions":
        question = {"messages": [{"role": "user", "content": "hi"}]}
    body = {**question, "max_tokens": 300, "stream": True, **fields}
    response = httpx.post(f"{server.url}/v1/{path}", json=body, timeout=120)
    told: dict[int, str] = {}
    reasons: dict[int, str | None] = {}
    for line in response.text.splitlines():
        if not line.startswith("data: {"):
            continue
        for choice in json.loads(line.removeprefix("data: "))["choices"]:
            text = choice["delta"].get("content") if "delta" in choice else choice["text"]
            told[choice["index"]] = told.get(choice["index"], "") + (text or "")
            reasons[choice["index"]] = choice["finish_reason"]
    return [told[index] for index in sorted(told) if reasons[index] == "stop"]


def test_a_stop_sequence_cuts_no_document_of_the_other_protocols(forms_server: RunningServer) -> None:
    form = {"type": "json_schema", "schema": SCHEMA}
    message = {
        "model": "pico",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 300,
        "stop_sequences": ['"kind', "{"],
        "output_config": {"format": form},
        "seed": 5,
    }
    answer = httpx.post(f"{forms_server.url}/v1/messages", json=message, timeout=120).json()
    assert_form(answer["content"][0]["text"], SCHEMA)
    assert answer["stop_reason"] == "end_turn"
    wish = {
        "model": "pico",
        "input": "hi",
        "max_output_tokens": 300,
        "stop": ['"kind', "{"],
        "text": {"format": {**form, "name": "x"}},
        "seed": 5,
    }
    response = httpx.post(f"{forms_server.url}/v1/responses", json=wish, timeout=120).json()
    assert_form(response["output"][0]["content"][0]["text"], SCHEMA)
    del wish["text"]
    response = httpx.post(f"{forms_server.url}/v1/responses", json=wish, timeout=120).json()
    assert "{" not in response["output"][0]["content"][0]["text"]


def test_a_bias_can_t_break_a_form(forms_server: RunningServer) -> None:
    for token in range(60, 90):
        bias = {"logit_bias": {str(token): 100}, "seed": token}
        for text in texts(ask(forms_server, "completions", regex="[0-9]{4}", **bias)):
            assert re.fullmatch("[0-9]{4}", text)


class Animal(BaseModel):
    kind: Literal["cat", "dog"]
    legs: int = Field(ge=0, le=8)
    names: list[Literal["Tom", "Rex"]] = Field(max_length=2)


def test_parse_of_the_openai_client(forms_server: RunningServer) -> None:
    parsed = forms_server.client.chat.completions.parse(
        model="pico", messages=[{"role": "user", "content": "an animal"}], response_format=Animal, seed=3
    )
    animal = parsed.choices[0].message.parsed
    assert isinstance(animal, Animal)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": UNHELD}}},
            "response_format.json_schema.schema.not.pattern",
        ),
        ({"response_format": {"type": "json", "value": UNHELD}}, "response_format.value.not.pattern"),
        ({"json_schema": {"properties": {"a": {"format": "regex"}}}}, "json_schema.properties.a.format"),
        ({"regex": "(?=a)"}, "regex"),
        ({"grammar": "root ::= missing"}, "grammar"),
        ({"guided_json": {"maximum": 10**30}}, "guided_json"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
    ],
)  # fmt: skip
def test_refusals_name_the_place(forms_server: RunningServer, fields: dict[str, Any], param: str) -> None:
    for path, question in (
        ("chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
        ("completions", {"prompt": "hi"}),
    ):
        response = httpx.post(f"{forms_server.url}/v1/{path}", json={**question, **fields}, timeout=60)
        assert response.status_code == 400, response.text
        error = response.json()["error"]
        assert error["param"] == param
        assert json.dumps(param)[1:-1] in error["message"]
