"""A request's body as a preset has it: by rules that hold for any preset and any request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from server.presets.apply import Asker, apply_layers, prepare
from server.presets.body import Body
from server.presets.parameters import SCHEMAS, place_in, spellings, stripped_paths
from server.presets.table import Layer, Preset, PresetTable, SystemMode, Target

without_a_clock = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)

NAMES = (
    "temperature",
    "top_k",
    "max_tokens",
    "stop",
    "reasoning_effort",
    "grammar",
    "chat_template_kwargs.x",
)
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.integers(0, 9), st.text(max_size=3), st.just(["a", {"b": None}])
)
PARAMETERS = st.dictionaries(st.sampled_from(NAMES), VALUES)
FIELDS = [path for name in NAMES for path in spellings(name)]


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for path, value in flat.items():
        name, _, inner = path.partition(".")
        if inner:
            made.setdefault(name, {})[inner] = value
        else:
            made[name] = value
    return made


REQUESTS = st.dictionaries(st.sampled_from(FIELDS), st.one_of(st.none(), VALUES)).map(nested)
PURPOSES = st.sampled_from(sorted(SCHEMAS))


def value_at(request: dict[str, Any], path: str) -> Any:
    name, _, inner = path.partition(".")
    value = request.get(name)
    return value.get(inner) if inner and isinstance(value, dict) else (None if inner else value)


def applied(layers: list[Layer], request: dict[str, Any], purpose: str = "chat") -> dict[str, Any]:
    body = Body(json.dumps(request).encode())
    apply_layers(layers, body, purpose)
    made: dict[str, Any] = json.loads(body.json())
    return made


@without_a_clock
@example({}, {"grammar": "x"}, {"grammar"}, {"response_format": "y"}, "chat")
@given(PARAMETERS, PARAMETERS, st.sets(st.sampled_from(NAMES)), REQUESTS, PURPOSES)
def test_forced_stands_before_the_request_and_that_before_the_default(
    force: dict[str, Any], default: dict[str, Any], strip: set[str], request: dict[str, Any], purpose: str
) -> None:
    default = {name: value for name, value in default.items() if name not in force}
    layer = Layer(name="p", force=force, default=default, strip=tuple(strip))
    after = applied([layer], request, purpose)
    forms = [name for name in force if name == "grammar"]
    for name in NAMES:
        place = place_in(purpose, name)
        theirs = [path for path in spellings(name) if value_at(request, path) is not None]
        if name in force:
            if place is not None:
                assert value_at(after, place) == force[name]
                assert [path for path in spellings(name) if value_at(after, path) is not None] == [place]
        elif name in strip:
            other_form = any(path not in stripped_paths(name) for path in theirs)
            if place is not None:
                assert value_at(after, place) == (None if other_form else default.get(name))
        elif theirs:
            assert forms or all(value_at(after, path) == value_at(request, path) for path in theirs)
        elif name in default and place is not None:
            assert value_at(after, place) == default[name]


@without_a_clock
@given(PARAMETERS, REQUESTS, PURPOSES)
def test_applying_twice_is_applying_once(
    force: dict[str, Any], request: dict[str, Any], purpose: str
) -> None:
    layer = Layer(name="p", force=force, system="Be brief.", system_mode="replace")
    once = applied(
        [layer], request | {"messages": [{"role": "user", "content": "Hi"}], "input": "Hi"}, purpose
    )
    assert applied([layer], once, purpose) == once


@without_a_clock
@given(REQUESTS, PURPOSES)
def test_an_empty_layer_changes_nothing(request: dict[str, Any], purpose: str) -> None:
    assert applied([Layer(name="p")], request, purpose) == request


def test_what_is_not_looked_at_stays_the_bytes_that_came() -> None:
    body = Body(b'{"model": "p", "x": 1.00, "y": {"z" : 12345678901234567890123}, "top_k": 1}')
    apply_layers([Layer(name="p", force={"top_k": 2})], body, "chat")
    assert body.json() == b'{"model":"p","x":1.00,"y":{"z" : 12345678901234567890123},"top_k":2}'


USER = {"role": "user", "content": "Hi"}
OLD = {"role": "system", "content": "Old."}
NEW = {"role": "system", "content": "New."}
BOTH = {"role": "system", "content": [{"type": "text", "text": "New.\n"}, {"type": "text", "text": "Old."}]}


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize(
    ("mode", "before", "after"),
    [
        ("prepend", [USER], [NEW, USER]),
        ("prepend", [OLD, USER], [BOTH, USER]),
        ("prepend", [USER, OLD], [NEW, USER, OLD]),
        ("replace", [OLD, USER, OLD], [NEW, USER]),
        ("replace", [USER], [NEW, USER]),
        ("default", [USER, OLD], [USER, OLD]),
        ("default", [USER], [NEW, USER]),
    ],
)
def test_the_system_prompt_of_a_chat(mode: Any, before: list[Any], after: list[Any], role: str) -> None:
    def as_role(messages: list[Any]) -> list[Any]:
        return [m | {"role": role} if m["role"] == "system" and m is not NEW else m for m in messages]

    layer = Layer(name="p", system="New.", system_mode=mode)
    for purpose in ("chat", "count_chat", "apply_template"):
        assert applied([layer], {"messages": as_role(before)}, purpose) == {"messages": as_role(after)}


@pytest.mark.parametrize(
    ("mode", "before", "after"),
    [
        ("prepend", {}, {"system": "New."}),
        ("prepend", {"system": "Old."}, {"system": BOTH["content"]}),
        ("prepend", {"system": [{"type": "text", "text": "Old."}]}, {"system": BOTH["content"]}),
        ("replace", {"system": "Old."}, {"system": "New."}),
        ("default", {"system": "Old."}, {"system": "Old."}),
        ("default", {"system": None}, {"system": "New."}),
    ],
)
def test_the_system_prompt_of_anthropics_messages(mode: Any, before: Any, after: Any) -> None:
    layer = Layer(name="p", system="New.", system_mode=mode)
    rest = {"messages": [USER]}
    assert applied([layer], before | rest, "messages") == after | rest
    inner = applied([layer], {"messages": [USER, OLD]}, "count_tokens")
    assert (
        inner
        == {
            "prepend": {"messages": [USER, OLD], "system": "New."},
            "replace": {"messages": [USER], "system": "New."},
            "default": {"messages": [USER, OLD]},
        }[mode]
    )


@pytest.mark.parametrize(
    ("mode", "instructions"), [("prepend", "New.\n\nOld."), ("replace", "New."), ("default", "Old.")]
)
def test_the_system_prompt_of_responses(mode: Any, instructions: str) -> None:
    layer = Layer(name="p", system="New.", system_mode=mode)
    assert applied([layer], {"input": "Hi"}, "response")["instructions"] == "New."
    assert (
        applied([layer], {"input": "Hi", "instructions": "Old."}, "response")["instructions"] == instructions
    )
    items = applied([layer], {"input": [OLD, USER]}, "response")
    assert items.get("instructions") == (None if mode == "default" else "New.")
    assert items["input"] == ([USER] if mode == "replace" else [OLD, USER])


@pytest.mark.parametrize(
    ("purpose", "name", "place"),
    [
        ("response", "max_tokens", "max_output_tokens"),
        ("response", "reasoning_effort", "reasoning.effort"),
        ("messages", "reasoning_effort", "reasoning_effort"),
        ("messages", "stop", "stop"),
        ("messages", "prompt_format", "prompt_format"),
        ("native", "max_tokens", "max_tokens"),
        ("response", "grammar", None),
        ("rerank", "temperature", None),
        ("embed", "dimensions", "dimensions"),
        ("response", "truncate", None),
    ],
)
def test_the_place_of_a_parameter(purpose: str, name: str, place: str | None) -> None:
    assert place_in(purpose, name) == place


def table(*layers: Layer, adapters: dict[str, float] | None = None) -> bytes:
    target = Target(arm="", share=1.0, model="demo", layers=layers, adapters=adapters or {})
    return PresetTable({"p": Preset(name="p", targets=(target,))}).encoded()


def test_what_was_changed_is_told() -> None:
    layer = Layer(
        name="p", force={"top_k": 1, "dry_base": 2}, strip=("seed",), system="Hi", default={"min_p": 1}
    )
    request = b'{"model":"p","top_k":5,"seed":1,"lora":[]}'
    _, choice = prepare(table(layer, adapters={"a": 1.0}), Asker(), "response", request)
    assert choice is not None
    assert (choice.preset, choice.label, choice.model) == ("p", "p", "demo")
    assert choice.notes == (
        "the preset 'p' removes 'seed' from requests",
        "the preset 'p' has its own 'top_k' in place of the client's",
        "the preset 'p' sets 'dry_base', for which a request here has no place",
        "the preset 'p' puts its adapters in place of 'lora'",
    )


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"model":', b'{"model":"q"}', b'{"model":1}', b'{"x":NaN,"model":"p"}']
)
def test_what_names_no_preset_stays_as_it_is(body: bytes) -> None:
    assert prepare(table(Layer(name="p", force={"seed": 1})), Asker(), "chat", body) == (body, None)


@pytest.mark.parametrize("mode", ["prepend", "replace", "default"])
def test_ollamas_requests_have_their_own_places(mode: SystemMode) -> None:
    layer = Layer(
        name="mix",
        force={"temperature": 0.5, "max_tokens": 7, "enable_thinking": False},
        default={"top_k": 3, "json_schema": {"type": "object"}},
        strip=("seed",),
        system="Ours.",
        system_mode=mode,
    )
    options = {"temperature": 1.5, "num_predict": 99, "top_k": 9, "seed": 1, "num_ctx": 64}
    common = {"options": options, "think": True}
    expected = {"temperature": 0.5, "num_predict": 7, "top_k": 9, "num_ctx": 64}
    system = {"prepend": "Ours.\n\nTheirs.", "replace": "Ours.", "default": "Theirs."}[mode]
    theirs = {"role": "system", "content": "Theirs."}
    chat = applied([layer], common | {"messages": [theirs, {"role": "user", "content": "Hi"}]}, "ollama_chat")
    assert chat["messages"] == [{"role": "system", "content": system}, {"role": "user", "content": "Hi"}]
    text = applied([layer], common | {"prompt": "Hi", "system": "Theirs."}, "ollama_generate")
    assert text["system"] == system
    for made in (chat, text):
        assert made["options"] == expected
        assert made["think"] is False
        assert made["format"] == {"type": "object"}


def test_a_tag_of_ollamas_is_no_part_of_a_presets_name() -> None:
    target = Target(model="demo", arm="demo", share=1.0, layers=(Layer(name="mix", force={"seed": 3}),))
    table = PresetTable({"mix": Preset(name="mix", targets=(target,))}).encoded()
    request = b'{"model": "mix:latest", "prompt": "Hi"}'
    body, choice = prepare(table, Asker(), "ollama_generate", request)
    assert choice is not None
    assert json.loads(body)["options"] == {"seed": 3}
    assert prepare(table, Asker(), "text", request) == (request, None)
