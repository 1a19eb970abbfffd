"""What clients call the form of an answer, as one `Constraint`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.errors import RequestError
from server.ipc.messages import Generate
from server.ipc.prompts import ChatPrompt
from server.openai.requests import to_engine
from server.openai.requests.answer_options import answer_options
from server.openai.requests.schemas import ChatCompletionRequest, CompletionRequest

SCHEMA = {"type": "object", "properties": {"é": {"type": "string"}}}
JSON = json.dumps(SCHEMA, ensure_ascii=False)


def chat(**fields: Any) -> Generate:
    body = {"messages": [{"role": "user", "content": "x"}], **fields}
    request = ChatCompletionRequest.model_validate_json(json.dumps(body))
    (generate,) = to_engine.from_chat(request, answer_options(request), "id")
    return generate


def text(**fields: Any) -> Generate:
    request = CompletionRequest.model_validate_json(json.dumps({"prompt": "x", **fields}))
    (generate,) = to_engine.from_completion(request, answer_options(request), "id")
    return generate


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
            ("json_schema", JSON, "response_format.json_schema.schema"),
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "description": "d", "strict": True, "schema": SCHEMA},
                }
            },
            ("json_schema", JSON, "response_format.json_schema.schema"),
        ),
        (
            {"response_format": {"type": "json_schema", "schema": SCHEMA}},
            ("json_schema", JSON, "response_format.schema"),
        ),
        ({"response_format": {"type": "json_object"}}, ("json_object", "", "response_format")),
        (
            {"response_format": {"type": "json_object", "schema": None}},
            ("json_object", "", "response_format"),
        ),
        (
            {"response_format": {"type": "json_object", "schema": SCHEMA}},
            ("json_schema", JSON, "response_format.schema"),
        ),
        (
            {"response_format": {"type": "json_schema", "name": "x", "strict": True, "schema": SCHEMA}},
            ("json_schema", JSON, "response_format.schema"),
        ),
        (
            {"response_format": {"type": "json_object", "value": SCHEMA}},
            ("json_schema", JSON, "response_format.value"),
        ),
        (
            {"response_format": {"type": "json", "value": SCHEMA}},
            ("json_schema", JSON, "response_format.value"),
        ),
        ({"response_format": {"type": "regex", "value": "a+"}}, ("regex", "a+", "response_format.value")),
        (
            {"response_format": {"type": "grammar", "grammar": 'root ::= "a"'}},
            ("gbnf", 'root ::= "a"', "response_format.grammar"),
        ),
        ({"json_schema": SCHEMA}, ("json_schema", JSON, "json_schema")),
        ({"json_schema": {}}, ("json_schema", "{}", "json_schema")),
        ({"json_schema": JSON}, ("json_schema", JSON, "json_schema")),
        ({"grammar": 'root ::= "a"'}, ("gbnf", 'root ::= "a"', "grammar")),
        ({"grammar": '%llguidance {}\nstart: "::="'}, ("lark", '%llguidance {}\nstart: "::="', "grammar")),
        ({"regex": "[0-9]+"}, ("regex", "[0-9]+", "regex")),
        ({"choice": ["yes", "no"]}, ("choice", '["yes", "no"]', "choice")),
        ({"lark": 'start: "a"'}, ("lark", 'start: "a"', "lark")),
        ({"guided_json": JSON}, ("json_schema", JSON, "guided_json")),
        ({"guided_regex": "a"}, ("regex", "a", "guided_regex")),
        ({"guided_choice": ["a"]}, ("choice", '["a"]', "guided_choice")),
        ({"guided_grammar": 'root ::= "a"'}, ("gbnf", 'root ::= "a"', "guided_grammar")),
        ({"guided_grammar": 'start: "a"'}, ("lark", 'start: "a"', "guided_grammar")),
        ({"structured_outputs": {"json": SCHEMA}}, ("json_schema", JSON, "structured_outputs.json")),
        ({"structured_outputs": {"choice": ["a"]}}, ("choice", '["a"]', "structured_outputs.choice")),
        (
            {"structured_outputs": {"json_object": True}},
            ("json_object", "", "structured_outputs.json_object"),
        ),
    ],
)
def test_each_name_is_one_constraint(fields: dict[str, Any], expected: tuple[str, str, str]) -> None:
    for generate in (chat(**fields), text(**fields)):
        found = generate.constraint
        assert found is not None
        assert (found.kind, found.text, found.param) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"response_format": {"type": "text"}},
        {"response_format": None, "grammar": "", "regex": "", "json_schema": None},
        {"structured_outputs": {"json": None, "json_object": False}},
    ],
)
def test_what_asks_for_nothing_is_no_constraint(fields: dict[str, Any]) -> None:
    generate = chat(**fields)
    assert generate.constraint is None
    assert isinstance(generate.prompt, ChatPrompt)
    assert generate.prompt.response_schema is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "json_object"}, "response_format"),
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": ["text"]}}, "response_format.type"),
        ({"response_format": {"type": "structural_tag"}}, "response_format.type"),
        ({"response_format": {"type": "json_object", "shema": {}}}, "response_format.shema"),
        ({"response_format": {"type": "text", "schema": {}}}, "response_format.schema"),
        ({"response_format": {"type": "json_object", "schema": {}, "value": {}}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": {"type": "regex"}}, "response_format.value"),
        ({"response_format": {"type": "json_schema", "json_schema": []}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": 1, "schema": {}}}},
            "response_format.json_schema.name",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"strict": "yes", "schema": {}}}},
            "response_format.json_schema.strict",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"type": "object"}}},
            "response_format.json_schema.type",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": [1]}}},
            "response_format.json_schema.schema",
        ),
        ({"json_schema": "{"}, "json_schema"),
        ({"grammar": 5}, "grammar"),
        ({"regex": ["a"]}, "regex"),
        ({"choice": "a"}, "choice"),
        ({"choice": []}, "choice"),
        ({"choice": ["a", ""]}, "choice"),
        ({"choice": ["a", 1]}, "choice"),
        ({"structured_outputs": {"yaml": "x"}}, "structured_outputs.yaml"),
        ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs"),
        ({"regex": "a", "choice": ["a"]}, "choice"),
        ({"response_format": {"type": "json_object"}, "grammar": "root ::= x"}, "grammar"),
        ({"json_schema": {"maximum": 10**20}}, "json_schema"),
        ({"json_schema": '{"maximum": ' + "9" * 5000 + "}"}, "json_schema"),
        ({"json_schema": '{"items": ' * 5000 + "{}" + "}" * 5000}, "json_schema"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    for read in (chat, text):
        with pytest.raises(RequestError) as caught:
            read(**fields)
        assert caught.value.param == param
        assert param.split(".", maxsplit=1)[0] in caught.value.message


@pytest.mark.parametrize(
    ("fields", "schema"),
    [
        ({"json_schema": SCHEMA}, SCHEMA),
        ({"guided_json": JSON}, SCHEMA),
        ({"response_format": {"type": "json_object"}}, {"type": "object"}),
        ({"json_schema": SCHEMA, "show_schema": False}, None),
        ({"response_format": {"type": "json_object"}, "show_schema": False}, None),
        ({"json_schema": True}, None),
        ({"regex": "a"}, None),
    ],
)
def test_the_schema_is_shown_unless_the_client_says_no(
    fields: dict[str, Any], schema: dict[str, Any] | None
) -> None:
    prompt = chat(**fields).prompt
    assert isinstance(prompt, ChatPrompt)
    shown = prompt.response_schema
    assert (shown if shown is None else json.loads(shown)) == schema
