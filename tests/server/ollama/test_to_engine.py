"""Ollama's requests as the engine gets them, and what is refused by name."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from models.errors import RequestError
from server.chat.thinking import Thinking
from server.ipc.constraint import Constraint
from server.ipc.messages import Generate, Pool
from server.ipc.prompts import ChatPrompt, InfillPrompt, TextPrompt
from server.ollama.names import plain_name, tagged_name
from server.openai.requests.reading import GenerationRead, PooledRead, Purpose, ReadJob, read

HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "Of a city.", "parameters": {"type": "object"}},
}
CALL = {"function": {"name": "weather", "arguments": {"city": "Rome"}}}


def body(purpose: Purpose, **fields: Any) -> GenerationRead:
    found = read(ReadJob(purpose=purpose, request_id="r"), json.dumps({"model": "demo", **fields}).encode())
    assert isinstance(found, GenerationRead)
    return found


def chat(**fields: Any) -> Generate:
    (made,) = body("ollama_chat", **{"messages": HI, **fields}).generates
    return made


def text(**fields: Any) -> Generate:
    (made,) = body("ollama_generate", **{"prompt": "Hi", **fields}).generates
    return made


def vectors(purpose: Purpose, **fields: Any) -> Pool:
    found = read(ReadJob(purpose=purpose), json.dumps({"model": "m", **fields}).encode())
    assert isinstance(found, PooledRead)
    return found.pool


def refused(purpose: Purpose, **fields: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        body(purpose, **fields)
    return caught.value


def messages_of(made: Generate) -> list[dict[str, Any]]:
    assert isinstance(made.prompt, ChatPrompt)
    return made.prompt.messages


# --- options ---


def test_all_options() -> None:
    made = chat(
        options={
            "num_keep": 5,
            "seed": 42,
            "num_predict": 100,
            "top_k": 20.0,
            "top_p": 0.9,
            "min_p": 0,
            "typical_p": 0.7,
            "repeat_last_n": 33,
            "temperature": 0.8,
            "repeat_penalty": 1.2,
            "presence_penalty": 1.5,
            "frequency_penalty": 1.0,
            "mirostat": 1,
            "mirostat_tau": 0.8,
            "mirostat_eta": 0.6,
            "stop": ["\n", "user:"],
            "num_ctx": 1024,
        }
    )
    params = made.params
    assert (params.seed, params.max_tokens, params.top_k, params.top_p) == (42, 100, 20, 0.9)
    assert (params.min_p, params.typical_p, params.repeat_last_n) == (0.0, 0.7, 33)
    assert (params.repeat_penalty, params.presence_penalty, params.frequency_penalty) == (1.2, 1.5, 1.0)
    assert (params.mirostat, params.mirostat_tau, params.mirostat_eta) == (1, 0.8, 0.6)
    assert params.stop == ("\n", "user:")
    assert {"seed", "max_tokens", "top_k", "mirostat", "stop"} <= set(made.given)
    assert (made.context_shift, made.n_keep) == (False, 5)


@pytest.mark.parametrize(("given", "limit"), [(-1, None), (-2, None), (0, 0), (7, 7), (7.0, 7)])
def test_the_number_of_tokens(given: float, limit: int | None) -> None:
    made = chat(options={"num_predict": given})
    assert made.params.max_tokens == limit
    assert "max_tokens" in made.given  # the file's own default doesn't count then


def test_what_has_no_effect_is_told() -> None:
    told = body(
        "ollama_chat",
        messages=HI,
        options={"num_ctx": 4096, "num_thread": 2, "use_mmap": True, "tfs_z": 1, "num_keep": 4, "odd": 1},
        oddity=True,
    )
    assert told.without_effect == [
        "options.num_ctx",
        "options.num_thread",
        "options.use_mmap",
        "options.tfs_z",
        "options.num_keep (without shift)",
    ]
    assert told.unknown == ["oddity", "options.odd"]


def test_shift() -> None:
    made = chat(shift=True, options={"num_predict": 50, "num_keep": 9})
    assert (made.context_shift, made.n_keep, made.params.max_tokens) == (True, 9, 50)
    assert refused("ollama_chat", messages=HI, shift=True).param == "options.num_predict"
    assert chat(shift=False).context_shift is False


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"temperature": -1}, "options.temperature"),
        ({"top_k": 1.5}, "options.top_k"),
        ({"num_predict": "many"}, "options.num_predict"),
        ({"stop": [3]}, "options.stop"),
        ([], "options"),
    ],
)
def test_wrong_options(options: Any, param: str) -> None:
    assert refused("ollama_chat", messages=HI, options=options).param == param


# --- chats ---


def test_a_chat_streams_unless_it_says_no() -> None:
    assert body("ollama_chat", messages=HI).stream
    assert body("ollama_chat", messages=HI, stream=None).stream
    assert not body("ollama_chat", messages=HI, stream=False).stream


def test_long_chats_are_shortened_unless_the_client_says_no() -> None:
    drops = [chat(**fields).prompt for fields in ({}, {"truncate": True}, {"truncate": False})]
    assert [prompt.drops_oldest for prompt in drops if isinstance(prompt, ChatPrompt)] == [True, True, False]


def test_calls_and_results_without_ids() -> None:
    other = {"function": {"name": "time", "arguments": {}}}
    made = chat(
        messages=[
            {"role": "System", "content": "Be kind."},
            *HI,
            {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [CALL, other]},
            {"role": "tool", "tool_name": "time", "content": "noon"},
            {"role": "tool", "content": "rain"},
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "tool_name": "weather", "content": "sun"},
        ],
        tools=[WEATHER, {"function": {"name": "time"}}],
    )
    system, _, first, noon, rain, second, sun = messages_of(made)
    assert system == {"role": "system", "content": "Be kind."}
    assert first["reasoning_content"] == "Hm."
    ids = [call["id"] for call in (*first["tool_calls"], *second["tool_calls"])]
    assert len(set(ids)) == 3
    assert all(len(each) == 9 and each.isalnum() for each in ids)
    assert json.loads(first["tool_calls"][0]["function"]["arguments"]) == {"city": "Rome"}
    assert [message["tool_call_id"] for message in (rain, noon, sun)] == ids
    assert [message["name"] for message in (rain, noon, sun)] == ["weather", "time", "weather"]
    assert isinstance(made.prompt, ChatPrompt)
    assert [tool.name for tool in made.prompt.tools] == ["weather", "time"]


def test_ids_that_are_given_count() -> None:
    calls = [{"id": name, **CALL} for name in ("a", "b")]
    results = [{"role": "tool", "tool_call_id": name, "content": name} for name in ("b", "a")]
    made = messages_of(chat(messages=[*HI, {"role": "assistant", "tool_calls": calls}, *results]))
    assert [message["tool_call_id"] for message in made[2:]] == ["b", "a"]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "poet", "content": "Oh"}], "messages[0].role"),
        ([{"role": "user", "content": 3}], "messages[0].content"),
        ([{"role": "user", "content": "", "images": ["?"]}], "messages[0].images[0]"),
        ([{"role": "user", "content": "", "images": "aGk="}], "messages[0].images"),
        ([{"role": "system", "content": "", "images": ["aGk="]}], "messages[0].images"),
        ([{"role": "user", "content": "", "tool_calls": [CALL]}], "messages[0].tool_calls"),
        ([{"role": "tool", "content": "rain"}], "messages[0]"),
        ([{"role": "assistant", "tool_calls": [{}]}], "messages[0].tool_calls[0]"),
        ([{"role": "assistant", "tool_calls": "no"}], "messages[0].tool_calls"),
        (
            [{"role": "assistant", "tool_calls": [{"function": {}}]}],
            "messages[0].tool_calls[0].function.name",
        ),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "a", "arguments": [1]}}]}],
            "messages[0].tool_calls[0].function.arguments",
        ),
        ("Hi", "messages"),
    ],
)
def test_wrong_messages(messages: Any, param: str) -> None:
    assert refused("ollama_chat", messages=messages).param == param


def test_wrong_tools() -> None:
    assert refused("ollama_chat", messages=HI, tools=[{"type": "web"}]).param == "tools[0].type"
    assert refused("ollama_chat", messages=HI, tools=[WEATHER, WEATHER]).param == "tools[1].function.name"
    assert refused("ollama_chat", tools={"function": {}}).param == "tools"


# --- forms and thoughts ---


def test_the_form_of_the_answer() -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}}
    assert chat(format="json").constraint == Constraint(kind="json_object", param="format")
    made = chat(format=schema)
    assert made.constraint == Constraint(kind="json_schema", text=json.dumps(schema), param="format")
    assert isinstance(made.prompt, ChatPrompt)
    assert json.loads(made.prompt.response_schema or "") == schema
    assert chat(format="").constraint is chat(format=None).constraint is None
    assert text(format="json", raw=True).constraint == Constraint(kind="json_object", param="format")


@pytest.mark.parametrize("given", ["yaml", True, 3, ["json"]])
def test_a_wrong_form(given: Any) -> None:
    assert refused("ollama_chat", messages=HI, format=given).param == "format"


@pytest.mark.parametrize(
    ("think", "expected"),
    [
        (None, Thinking()),
        (True, Thinking(enabled=True)),
        (False, Thinking(enabled=False)),
        ("low", Thinking(enabled=True, effort="low")),
        ("max", Thinking(enabled=True, effort="high")),
    ],
)
def test_thoughts(think: bool | str | None, expected: Thinking) -> None:
    for read_body in (
        body("ollama_chat", messages=HI, think=think),
        body("ollama_generate", prompt="a", think=think),
    ):
        (made,) = read_body.generates
        assert isinstance(made.prompt, ChatPrompt)
        assert made.prompt.thinking == expected
        assert read_body.ollama is not None
        assert read_body.ollama.needs_thoughts is (think not in (None, False))
    assert refused("ollama_chat", messages=HI, think="deeply").param == "think"


def test_logprobs() -> None:
    assert chat().n_probs is None
    assert chat(logprobs=True).n_probs == 0
    assert text(logprobs=True, top_logprobs=3).n_probs == 3
    assert chat(top_logprobs=3).n_probs is None
    assert refused("ollama_chat", messages=HI, logprobs=True, top_logprobs=21).param == "top_logprobs"


# --- prompts ---


def test_a_prompt_is_a_chat_of_one_message() -> None:
    made = text(system="Be kind.", context=[5, 6])
    assert made.prompt == ChatPrompt(
        messages=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}], before=(5, 6)
    )
    assert (made.tells_tokens, made.return_tokens) == (True, True)


def test_raw_prompts_and_gaps() -> None:
    raw = text(raw=True)
    assert (raw.prompt, raw.tells_tokens) == (TextPrompt("Hi"), False)
    assert text(suffix="end").prompt == InfillPrompt(prefix="Hi", suffix="end")
    told = body("ollama_generate", prompt="a", suffix="b", system="c").without_effect
    assert told == ["system (beside suffix)"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"raw": True, "system": "a"}, "system"),
        ({"raw": True, "context": [1]}, "context"),
        ({"raw": True, "suffix": "a"}, "suffix"),
        ({"template": "{{ .Prompt }}"}, "template"),
        ({"images": [5]}, "images[0]"),
        ({"images": ["aGk="], "raw": True}, "images"),
        ({"images": ["aGk="], "suffix": "b"}, "images"),
        ({"context": ["a"]}, "context"),
        ({"prompt": 3}, "prompt"),
        ({"keep_alive": "soon"}, "keep_alive"),
    ],
)
def test_wrong_prompts(fields: dict[str, Any], param: str) -> None:
    assert refused("ollama_generate", **{"prompt": "Hi", **fields}).param == param


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("5m", 300.0), ("24h", 86_400.0), (60, 60.0), (0, 0.0), (-1, math.inf), ("-1m", math.inf)],
)
def test_how_long_a_model_stays(given: Any, seconds: float) -> None:
    assert chat(keep_alive=given).keep_alive_s == text(keep_alive=given).keep_alive_s == seconds
    for only_loads in (
        body("ollama_chat", keep_alive=given),
        body("ollama_generate", prompt="", keep_alive=given),
    ):
        assert only_loads.generates == []
        assert only_loads.ollama is not None
        assert (only_loads.ollama.only_loads, only_loads.ollama.keep_alive_s) == (True, seconds)


# --- vectors ---


def test_texts() -> None:
    made = vectors("ollama_embed", input=["a", "b"], keep_alive="1h", dimensions=0)
    assert (made.inputs.texts, made.cut, made.dimensions, made.keep_alive_s) == (
        ("a", "b"),
        "end",
        None,
        3600,
    )
    assert vectors("ollama_embed", input="a", truncate=False, dimensions=8).cut is None
    assert vectors("ollama_embed", input="a", truncate=False, dimensions=8).dimensions == 8
    assert vectors("ollama_embed").inputs.texts == vectors("ollama_embed", input=[]).inputs.texts == ()
    assert vectors("ollama_embeddings", prompt="a").inputs.texts == ("a",)
    assert vectors("ollama_embeddings", prompt="").inputs.texts == ()
    wrongs: tuple[Any, ...] = ([1, 2], [["a"]], 3, {})
    for wrong in wrongs:
        with pytest.raises(RequestError) as caught:
            vectors("ollama_embed", input=wrong)
        assert (caught.value.param or "").startswith("input")


@pytest.mark.parametrize(
    ("purpose", "fields"),
    [
        ("embeddings", {"input": "a"}),
        ("embedding", {"content": "a"}),
        ("embed", {"inputs": "a"}),
        ("rerank", {"query": "a", "documents": ["b"]}),
        ("score", {"text_1": "a", "text_2": "b"}),
    ],
)
def test_every_request_for_vectors_says_how_long_the_model_stays(
    purpose: Purpose, fields: dict[str, Any]
) -> None:
    assert vectors(purpose, **fields, keep_alive="10m").keep_alive_s == 600
    assert vectors(purpose, **fields).keep_alive_s is None


# --- names ---


@pytest.mark.parametrize(
    ("told", "plain"),
    [
        ("demo", "demo"),
        ("demo:latest", "demo"),
        ("demo:LATEST", "demo"),
        ("demo:q4_K_M", "demo:q4_K_M"),
        ("hf.co/org/name:Q8_0", "org/name:Q8_0"),
        ("HuggingFace.co/org/name:latest", "org/name"),
    ],
)
def test_names(told: str, plain: str) -> None:
    assert plain_name(told) == plain
    assert tagged_name("demo", None) == "demo:latest"
    assert tagged_name("demo", "Q8_0") == "demo:Q8_0"
