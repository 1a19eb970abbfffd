"""The form of an answer that a preset sets, in each protocol's requests, as their own readers see it."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from server.ipc.constraint import Constraint
from server.openai.requests.reading import GenerationRead, Purpose, ReadJob, read
from server.presets.apply import apply_layers
from server.presets.body import Body
from server.presets.forms import FORMS, form_in
from server.presets.table import Layer
from server.responses.read import ResponseRead

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
USER = {"messages": [{"role": "user", "content": "Hi"}]}
PROTOCOLS: dict[Purpose, dict[str, Any]] = {
    "chat": USER,
    "response": {"input": "Hi"},
    "messages": USER | {"max_tokens": 9},
    "ollama_chat": USER,
    "ollama_generate": {"prompt": "Hi"},
}
THEIRS: dict[Purpose, dict[str, Any]] = {
    "chat": {"grammar": 'start: "x"'},
    "response": {"text": {"format": {"type": "json_object"}, "verbosity": "low"}},
    "messages": {"output_config": {"format": {"type": "json_schema", "schema": {}}, "effort": "low"}},
    "ollama_chat": {"format": "json"},
    "ollama_generate": {"format": {"type": "string"}},
}
"""A form of the client's own, beside which something else stands in the same object."""
SCHEMAS = [
    (
        "response_format",
        {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}},
    ),
    ("response_format", {"type": "json_schema", "json_schema": {"name": "n" * 65, "schema": SCHEMA}}),
    ("response_format", {"type": "json_schema", "name": "n", "description": None, "schema": SCHEMA}),
    ("response_format", {"type": "json_object", "schema": SCHEMA}),
    ("response_format", {"type": "json", "value": SCHEMA, "schema": None}),
    ("response_format", {"type": "json", "schema": json.dumps(SCHEMA)}),
    ("json_schema", SCHEMA),
    ("json_schema", json.dumps(SCHEMA)),
]


def changed(layer: Layer, purpose: Purpose, request: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    body = Body(json.dumps(request).encode())
    notes = apply_layers([layer], body, purpose)
    made: dict[str, Any] = json.loads(body.json())
    return made, notes


def constraint_of(purpose: Purpose, request: dict[str, Any]) -> Constraint | None:
    outcome = read(ReadJob(purpose=purpose), json.dumps(request).encode())
    assert isinstance(outcome, GenerationRead | ResponseRead)
    return outcome.generates[0].constraint


@pytest.mark.parametrize("purpose", PROTOCOLS)
@pytest.mark.parametrize(("name", "value"), SCHEMAS)
def test_a_schema_holds_in_every_protocol(purpose: Purpose, name: str, value: Any) -> None:
    forced, default = Layer(name="p", force={name: value}), Layer(name="p", default={name: value})
    plain, theirs = PROTOCOLS[purpose], PROTOCOLS[purpose] | THEIRS[purpose]
    for layer, request in ((forced, plain), (forced, theirs), (default, plain)):
        made, _ = changed(layer, purpose, request)
        held = constraint_of(purpose, made)
        assert held is not None
        assert (held.kind, json.loads(held.text)) == ("json_schema", SCHEMA)
    assert changed(default, purpose, theirs)[0] == theirs
    made, notes = changed(forced, purpose, theirs)
    assert notes == [f"the preset 'p' has its own '{name}' in place of the client's"]
    for field, kept in (("text", {"verbosity": "low"}), ("output_config", {"effort": "low"})):
        if field in theirs:
            assert kept.items() <= made[field].items()


@pytest.mark.parametrize("purpose", PROTOCOLS)
def test_any_object_and_any_text(purpose: Purpose) -> None:
    request = PROTOCOLS[purpose] | THEIRS[purpose]
    objects, notes = changed(
        Layer(name="p", force={"response_format": {"type": "json_object"}}), purpose, request
    )
    held = constraint_of(purpose, objects)
    assert held is not None
    assert held.kind == "json_object" or json.loads(held.text) == {"type": "object"}
    assert len(notes) == 1
    for before in (request, PROTOCOLS[purpose]):
        free, _ = changed(Layer(name="p", force={"response_format": {"type": "text"}}), purpose, before)
        assert constraint_of(purpose, free) is None


@pytest.mark.parametrize("purpose", ["response", "messages", "ollama_chat", "ollama_generate"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("grammar", 'start: "x"'),
        ("regex", "x"),
        ("choice", ["x"]),
        ("lark", 'start: "x"'),
        ("response_format", {"type": "regex", "value": "x"}),
        ("response_format", {"type": "json_schema"}),
        ("response_format", "json"),
        ("json_schema", "{"),
        ("json_schema", 5),
    ],
)
def test_what_has_no_place_is_told_and_leaves_the_clients_form(
    purpose: Purpose, name: str, value: Any
) -> None:
    request = PROTOCOLS[purpose] | THEIRS[purpose]
    made, notes = changed(Layer(name="p", force={name: value}), purpose, request)
    assert made == request
    assert notes == [f"the preset 'p' sets '{name}', for which a request here has no place"]


def test_a_schema_that_is_true_is_any_json() -> None:
    for purpose in ("response", "messages", "ollama_chat"):
        placed = form_in(purpose, "json_schema", value=True)
        assert placed is not None
        assert placed.value in ({}, {"type": "json_schema", "schema": {}})


def test_chat_completions_fields_need_no_translation() -> None:
    purposes = [each for part in get_args(Purpose) for each in (get_args(part) or (part,))]
    assert "chat" in purposes
    others = {purpose for purpose in purposes if form_in(purpose, "json_schema", SCHEMA) is not None}
    assert others == {"response", "messages", "count_tokens", "ollama_chat", "ollama_generate"}
    assert len(FORMS) == 6
