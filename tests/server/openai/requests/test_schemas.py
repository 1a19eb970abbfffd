from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from server.engine.sampling_params import RANGES
from server.openai.requests import field_errors
from server.openai.requests.schemas import (
    ChatCompletionRequest,
    CompletionRequest,
    DetokenizeRequest,
    unknown_fields,
)


def completion(**fields: Any) -> CompletionRequest:
    return CompletionRequest.model_validate_json(json.dumps({"prompt": "x", **fields}))


@pytest.mark.parametrize(
    ("given", "prompts"),
    [
        ("x", ["x"]),
        ("", [""]),
        (["x", "y"], ["x", "y"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
        (["x", [1]], ["x", [1]]),
    ],
)
def test_prompts(given: Any, prompts: Any) -> None:
    assert completion(prompt=given).prompt == prompts


@pytest.mark.parametrize(
    "given", [[], [[]], 5, None, [1.5], ["x", 1], [True], [-1], [1 << 31], {}, ["x"] * 1025]
)
def test_prompts_that_are_refused(given: Any) -> None:
    refused("prompt", prompt=given)


def refused(param: str, **fields: Any) -> str:
    """The message of the refusal; it must name `param`."""
    with pytest.raises(ValidationError) as caught:
        completion(**fields)
    error = field_errors.from_validation(caught.value)
    assert error.param == param
    return error.message


@pytest.mark.parametrize(
    ("given", "stops"),
    [
        (None, ()),
        ("x", ("x",)),
        (["x", "y", "x"], ("x", "y")),
        ([], ()),
        ([str(i) for i in range(4096)], None),
    ],
)
def test_stop(given: Any, stops: Any) -> None:
    assert completion(stop=given).stop == (tuple(given) if stops is None else stops)


@pytest.mark.parametrize(
    "given", ["", [""], ["x", ""], 5, [5], {}, [str(i) for i in range(4097)], "x" * 1001]
)
def test_stop_that_is_refused(given: Any) -> None:
    refused("stop", stop=given)


@pytest.mark.parametrize(
    ("given", "biases"),
    [
        (None, ()),
        ({}, ()),
        ({"5": 1, "6": -100.0}, ((5, 1.0), (6, -100.0))),
        ({"5": False}, ((5, float("-inf")),)),
        ([[5, 1.5], [6, False]], ((5, 1.5), (6, float("-inf")))),
    ],
)
def test_logit_bias(given: Any, biases: Any) -> None:
    assert completion(logit_bias=given).logit_bias == biases


@pytest.mark.parametrize(
    "given",
    [
        {"x": 1},
        {"-1": 1},
        {"1.5": 1},
        {"5": 101},
        {"5": -100.5},
        {"5": True},
        {"5": "1"},
        {"5": None},
        {"²": 1},
        {"99999999999": 1},
        {str(1 << 31): 1},
        [5],
        [[5]],
        "x",
    ],
)
def test_logit_bias_that_is_refused(given: Any) -> None:
    refused("logit_bias", logit_bias=given)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("n", [1, 128, None], [0, 129, "1", 1.5, True]),
        ("max_tokens", [-1, 0, 1, None], [-2, "5", 1.5, True]),
        ("max_completion_tokens", [-1, 0, 1], [-2]),
        ("n_predict", [-1, 0, 5], [-2, "5"]),
        ("temperature", [0, 0.5, 2, 5], [-0.1, "1", True, 1e300]),
        ("top_p", [0, 0.5, 1], [-0.1, 1.1]),
        ("top_k", [0, 40], [-2, 1.5, 1 << 40]),
        ("min_p", [0, 1], [-1, 2]),
        ("typical_p", [0, 1], [-1, 2]),
        ("top_n_sigma", [0, 2.5], [-2]),
        ("presence_penalty", [-2, 2], [-2.1, 2.1]),
        ("frequency_penalty", [-2, 2], [-2.1, 2.1]),
        ("repeat_penalty", [0.5, 1.1], [0, -1]),
        ("repeat_last_n", [-1, 0, 64], [-2]),
        ("mirostat", [0, 2], [3, -1]),
        ("xtc_probability", [0, 1], [2]),
        ("dry_base", [1, 1.75], [0.5]),
        ("dry_penalty_last_n", [-1, 64], [-2]),
        ("dry_sequence_breakers", [None], [[], "x"]),
        ("seed", [0, 5, (1 << 32) - 2], ["1", 1.5, 1 << 63]),
        ("stream", [True, False, None], ["true", 1]),
        ("echo", [True], [1]),
        ("best_of", [1, 128], [0, 129]),
        ("logprobs", [None, 0, 1, 20], [-1, 21, True, "5", 1.0, {}]),
        ("n_probs", [0, 20], [-2, 21, True, "5"]),
        ("priority", [0, -5, 5, None], [1 << 31, 1.5, "1", True]),
        ("ignore_eos", [True], ["yes"]),
        ("min_tokens", [0, 5], [-1]),
        ("user", ["me"], [5]),
        ("metadata", [{"a": "b"}], ["x"]),
        ("model", ["demo", None], [5, "x" * 513]),
    ],
)
def test_ranges_and_types(name: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert getattr(completion(**{name: value}), name) == value
    for value in bad:
        assert name in refused(name, **{name: value})


@pytest.mark.parametrize(
    ("name", "sent", "read"),
    [
        ("top_k", -1, 0),
        ("top_n_sigma", -1, 0.0),
        ("top_n_sigma", -0.5, 0.0),
        ("n_probs", -1, 0),
        ("max_tokens", 1 << 31, (1 << 31) - 1),
        ("max_completion_tokens", (1 << 53) - 1, (1 << 31) - 1),
        ("n_predict", 1 << 62, (1 << 31) - 1),
        ("repeat_last_n", 1 << 40, 1 << 20),
        ("dry_penalty_last_n", 1 << 70, 1 << 20),
        ("seed", -1, -1),
        ("seed", (1 << 32) - 1, 0),
        ("seed", 1 << 40, 1 << 8),
        ("seed", -5, (1 << 32) - 6),
        ("dry_sequence_breakers", ["\n", ":"], ("\n", ":")),
    ],
)
def test_values_that_are_read_as_others(name: str, sent: Any, read: Any) -> None:
    assert getattr(completion(**{name: sent}), name) == read


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("max_tokens", [-1, 1, None], [-2]),
        ("max_completion_tokens", [-1, 1, None], [-2]),
        ("logprobs", [True, False, None], [0, 1, "true"]),
        ("top_logprobs", [0, 20, None], [-1, 21, True, "5", 1.5]),
        ("reasoning_effort", ["low", None], ["", 5, "x" * 65]),
    ],
)
def test_ranges_and_types_of_chats(name: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert getattr(chat(**{name: value}), name) == value
    for value in bad:
        with pytest.raises(ValidationError) as caught:
            chat(**{name: value})
        assert field_errors.from_validation(caught.value).param == name


def chat(**fields: Any) -> ChatCompletionRequest:
    body = {"messages": [{"role": "user", "content": "Hi"}], **fields}
    return ChatCompletionRequest.model_validate_json(json.dumps(body))


def test_the_limit_of_logprobs_is_named() -> None:
    assert "from 0 to 20" in refused("logprobs", logprobs=21)
    assert completion(logprobs=False).logprobs is None


@pytest.mark.parametrize(
    ("given", "adapters"),
    [
        (None, None),
        ([], ()),
        ([{"id": 2, "scale": 1}, {"id": 0, "scale": -0.5}], ((0, -0.5), (2, 1.0))),
        ([{"id": 0, "scale": 0}], ((0, 0.0),)),
    ],
)
def test_lora(given: Any, adapters: Any) -> None:
    assert completion(lora=given).lora == adapters


@pytest.mark.parametrize(
    "given",
    [
        "x",
        {},
        [5],
        [{}],
        [{"id": 0}],
        [{"id": 0, "scale": 1, "name": "x"}],
        [{"id": -1, "scale": 1}],
        [{"id": True, "scale": 1}],
        [{"id": "0", "scale": 1}],
        [{"id": 1 << 31, "scale": 1}],
        [{"id": 0, "scale": True}],
        [{"id": 0, "scale": "1"}],
        [{"id": 0, "scale": 1e9}],
        [{"id": 0, "scale": 1}, {"id": 0, "scale": 2}],
        [{"id": i, "scale": 1} for i in range(17)],
    ],
)
def test_lora_that_is_refused(given: Any) -> None:
    refused("lora", lora=given)


@pytest.mark.parametrize("scale", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_scales_must_be_finite(scale: bytes) -> None:
    with pytest.raises(ValidationError):
        CompletionRequest.model_validate_json(b'{"prompt": "x", "lora": [{"id": 0, "scale": %b}]}' % scale)


def test_numbers_must_be_finite() -> None:
    for text in (b"NaN", b"Infinity", b"1e999"):
        with pytest.raises(ValidationError):
            CompletionRequest.model_validate_json(b'{"prompt": "x", "temperature": %b}' % text)


def test_unknown_fields_are_kept_aside() -> None:
    assert unknown_fields(completion(wibble=1, wobble={"x": 2})) == ["wibble", "wobble"]
    assert unknown_fields(completion()) == []
    assert unknown_fields(chat(verbosely="low", verbosity="low", reasoning_effort="low")) == ["verbosely"]


def test_unknown_fields_within_an_object_are_named_by_their_path() -> None:
    request = chat(wibble=1, reasoning={"depth": 1}, stream_options={"include_usage": True, "more": 1})
    assert unknown_fields(request) == ["wibble", "stream_options.more", "reasoning.depth"]


def test_message_contents() -> None:
    parts = [{"type": "text", "text": "a"}]
    body = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": None}]}
    request = ChatCompletionRequest.model_validate_json(json.dumps(body))
    assert request.messages[0].content == parts
    assert request.messages[1].content is None


@pytest.mark.parametrize("tokens", [[], [1, 2]])
def test_token_lists(tokens: list[int]) -> None:
    assert DetokenizeRequest.model_validate_json(json.dumps({"tokens": tokens})).tokens == tokens


@pytest.mark.parametrize("tokens", [[-1], ["1"], [1.0], None, "12"])
def test_token_lists_that_are_refused(tokens: Any) -> None:
    with pytest.raises(ValidationError):
        DetokenizeRequest.model_validate_json(json.dumps({"tokens": tokens}))


def test_a_field_has_the_limits_of_the_parameter_that_it_becomes() -> None:
    schema = CompletionRequest.model_json_schema()["properties"]
    for name, limit in RANGES.items():
        if name == "seed":  # folded to 32 bits, see `Seed`
            continue
        (number,) = [each for each in schema[name]["anyOf"] if each["type"] != "null"]
        assert number["minimum"] == (limit.least if limit.minus_one is None else -1), name
        assert number.get("maximum") == (None if limit.is_bound else limit.greatest), name
        for outside in (number["minimum"] - 1, *([] if limit.is_bound else [limit.greatest * 2 + 1])):
            refused(name, **{name: outside})
