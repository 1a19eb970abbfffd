from __future__ import annotations

import json
from typing import Any

import pytest

from models.errors import RequestError
from server.chat.thinking import Thinking
from server.chat.tools import Tool, ToolChoice
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate
from server.ipc.prompts import ChatPrompt, TextPrompt, TokenPrompt
from server.openai.requests import to_engine
from server.openai.requests.answer_options import answer_options
from server.openai.requests.schemas import ChatCompletionRequest, CompletionRequest

HI = [{"role": "user", "content": "Hi"}]


def chat(**fields: Any) -> Generate:
    body = {"messages": HI, **fields}
    request = ChatCompletionRequest.model_validate_json(json.dumps(body))
    (generate,) = to_engine.from_chat(request, answer_options(request), "id", 5.0)
    return generate


def completion(**fields: Any) -> list[Generate]:
    request = CompletionRequest.model_validate_json(json.dumps({"prompt": "x", **fields}))
    return to_engine.from_completion(request, answer_options(request), "id")


def test_defaults_are_llama_cpps() -> None:
    assert chat() == Generate(id="id", prompt=ChatPrompt(HI), params=SamplingParams(), timeout_s=5.0)


def test_every_sampling_parameter_gets_through() -> None:
    given: dict[str, Any] = {
        "temperature": 0.1,
        "dynatemp_range": 0.2,
        "dynatemp_exponent": 1.3,
        "top_k": 4,
        "top_p": 0.5,
        "min_p": 0.6,
        "typical_p": 0.7,
        "top_n_sigma": 0.8,
        "xtc_probability": 0.9,
        "xtc_threshold": 0.2,
        "dry_multiplier": 1.1,
        "dry_base": 1.2,
        "dry_allowed_length": 13,
        "dry_penalty_last_n": 14,
        "dry_sequence_breakers": ["a", "b"],
        "repeat_penalty": 1.5,
        "repeat_last_n": 16,
        "presence_penalty": 1.7,
        "frequency_penalty": 1.8,
        "mirostat": 1,
        "mirostat_tau": 2.0,
        "mirostat_eta": 2.1,
        "seed": 22,
        "logit_bias": {"23": 2.3},
        "max_tokens": 24,
        "min_tokens": 5,
        "stop": ["s"],
        "ignore_eos": True,
    }
    assert given.keys() == set(SamplingParams.__struct_fields__)
    params = chat(**given).params
    for name, value in given.items():
        got = getattr(params, name)
        if name == "logit_bias":
            assert got == ((23, 2.3),)
        else:
            assert got == (tuple(value) if isinstance(value, list) else value), name
        assert got != getattr(SamplingParams(), name), f"{name} wasn't tried"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"n_predict": -1}, None),
        ({"n_predict": 5}, 5),
        ({"max_tokens": 6, "n_predict": 5}, 6),
        ({"max_completion_tokens": 7, "max_tokens": 6}, 7),
        ({"max_tokens": None}, None),
    ],
)
def test_max_tokens(fields: dict[str, Any], expected: int | None) -> None:
    assert chat(**fields).params.max_tokens == expected


@pytest.mark.parametrize(
    ("seed", "expected"),
    [(None, None), (-1, None), (0, 0), (5, 5), ((1 << 32) - 1, 0), (1 << 32, 1), (-2, (1 << 32) - 3)],
)
def test_seed_fits_llama_cpp_and_is_never_its_random_one(seed: int | None, expected: int | None) -> None:
    assert chat(seed=seed).params.seed == expected


def test_sentinels_of_llama_server_mean_off_or_all() -> None:
    params = chat(top_k=-1, top_n_sigma=-1, dry_penalty_last_n=-1).params
    assert (params.top_k, params.top_n_sigma, params.dry_penalty_last_n) == (0, 0.0, -1)


def test_prompts_in_order() -> None:
    several = completion(prompt=["a", [1, 2]], n=3, echo=True, cache_prompt=False, return_tokens=True)
    assert [generate.prompt for generate in several] == [TextPrompt("a"), TokenPrompt((1, 2))]
    assert [generate.id for generate in several] == ["id-0", "id-1"]
    assert all(g.n == 3 and g.echo and g.return_tokens and not g.cache_prompt for g in several)
    assert completion()[0].id == "id"


def test_contents_become_one_string() -> None:
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": "c", "name": "Ann"},
        {"role": "assistant", "content": None, "refusal": "no"},
    ]
    prompt = chat(messages=messages).prompt
    assert isinstance(prompt, ChatPrompt)
    assert prompt.messages == [
        {"role": "system", "content": "a\nb"},
        {"role": "user", "content": "c", "name": "Ann"},
        {"role": "assistant", "content": "no"},
    ]


def test_a_refusal_stands_behind_the_content() -> None:
    def content(**fields: Any) -> Any:
        prompt = chat(messages=[*HI, {"role": "assistant", **fields}]).prompt
        assert isinstance(prompt, ChatPrompt)
        return prompt.messages[1]["content"]

    assert content(content="", refusal="no") == content(refusal="no") == "no"
    assert content(content="yes", refusal="no") == "yes\nno"
    assert content(content="yes", refusal=None) == "yes"
    assert content(content=[]) == content() == ""


def test_template_options() -> None:
    prompt = chat(
        prompt_format="alpaca", chat_template_kwargs={"input": "x"}, add_generation_prompt=False
    ).prompt
    assert prompt == ChatPrompt(HI, "alpaca", {"input": "x"}, add_generation_prompt=False)


@pytest.mark.parametrize(
    ("fields", "generation", "continuation"),
    [
        ({}, True, None),
        ({"add_generation_prompt": None, "continue_final_message": None}, True, None),
        ({"continue_final_message": True, "add_generation_prompt": False}, False, True),
        ({"continue_final_message": True}, False, True),
        ({"continue_final_message": "reasoning_content"}, False, "reasoning_content"),
        ({"continue_final_message": False}, True, False),
        ({"continue_final_message": False, "add_generation_prompt": False}, False, False),
    ],
)
def test_how_the_prompt_ends(
    fields: dict[str, Any], generation: bool, continuation: bool | str | None
) -> None:
    prompt = chat(**fields).prompt
    assert isinstance(prompt, ChatPrompt)
    assert (prompt.add_generation_prompt, prompt.continue_final_message) == (generation, continuation)


def test_an_echo_of_a_chat_scores_no_prompt() -> None:
    assert not chat().echo
    scored = chat(echo=True, logprobs=True)
    assert scored.echo
    assert not scored.score_prompt


def test_thoughts_have_two_names() -> None:
    def thoughts(**fields: str) -> Any:
        prompt = chat(messages=[*HI, {"role": "assistant", "content": "a", **fields}]).prompt
        assert isinstance(prompt, ChatPrompt)
        return prompt.messages[1].get("reasoning_content")

    assert thoughts(reasoning_content="r") == thoughts(reasoning="r") == "r"
    assert thoughts(reasoning_content="r", reasoning="s") == "r"
    assert thoughts() is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"reasoning_effort": "low"}, Thinking(effort="low")),
        (
            {"reasoning_effort": "low", "chat_template_kwargs": {"reasoning_effort": "high"}},
            Thinking(effort="high"),
        ),
        ({"reasoning_effort": "none"}, Thinking(enabled=False)),
        (
            {"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": True}},
            Thinking(enabled=True),
        ),
        ({}, Thinking()),
    ],
)
def test_wishes_about_thoughts_go_with_the_prompt(fields: dict[str, Any], expected: Thinking) -> None:
    prompt = chat(**fields).prompt
    assert isinstance(prompt, ChatPrompt)
    assert prompt.thinking == expected
    assert prompt.chat_template_kwargs == fields.get("chat_template_kwargs", {})


def test_tools_go_with_the_prompt() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    prompt = chat(tools=tools, tool_choice="required", parallel_tool_calls=False).prompt
    assert isinstance(prompt, ChatPrompt)
    assert prompt.tools == (Tool(name="f", parameters={"type": "object"}),)
    assert prompt.tool_choice == ToolChoice(mode="required", parallel=False)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n_predict"])
@pytest.mark.parametrize("value", [32_000, 1 << 40])
def test_more_tokens_than_any_context_has_are_an_upper_bound(name: str, value: int) -> None:
    assert chat(**{name: value}).params.max_tokens == min(value, (1 << 31) - 1)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"logprobs": False}, None),
        ({"logprobs": True}, 0),
        ({"logprobs": True, "top_logprobs": 5}, 5),
        ({"n_probs": 3}, 3),
        ({"n_probs": 0}, None),
        ({"logprobs": True, "top_logprobs": 5, "n_probs": 3}, 5),
    ],
)
def test_n_probs_of_chats(fields: dict[str, Any], expected: int | None) -> None:
    assert chat(**fields).n_probs == expected
    assert not chat(**fields).score_prompt


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, None), ({"logprobs": 0}, 0), ({"logprobs": 4}, 4), ({"n_probs": 3}, 3), ({"n_probs": 0}, None)],
)
@pytest.mark.parametrize("echo", [True, False])
def test_n_probs_of_completions(fields: dict[str, Any], expected: int | None, echo: bool) -> None:
    (generate,) = completion(**fields, echo=echo)
    assert generate.n_probs == expected
    assert generate.score_prompt is (echo and expected is not None)


@pytest.mark.parametrize(
    ("fields", "n", "n_probs"),
    [
        ({"n": 2, "best_of": 5}, 5, 0),
        ({"best_of": 3, "logprobs": 4}, 3, 4),
        ({"n": 2, "best_of": 2}, 2, None),
        ({"n": 2}, 2, None),
    ],
)
def test_best_of_makes_more_choices_and_their_logprobs(
    fields: dict[str, Any], n: int, n_probs: int | None
) -> None:
    (generate,) = completion(**fields, echo=True)
    assert (generate.n, generate.n_probs) == (n, n_probs)
    assert generate.score_prompt is ("logprobs" in fields)


def test_how_long_the_model_stays() -> None:
    assert [
        completion(prompt="a", keep_alive=value)[0].keep_alive_s for value in ("5m", 30, 0, -1, None)
    ] == [*(300.0, 30.0, 0.0, float("inf"), None)]
    assert chat(keep_alive="-1m").keep_alive_s == float("inf")


def test_priority_and_adapters() -> None:
    lora = [{"id": 3, "scale": 1}, {"id": 1, "scale": 0.5}, {"id": 2, "scale": 0}]
    generates = completion(prompt=["a", "b"], priority=-4, lora=lora)
    assert [(g.priority, g.adapters) for g in generates] == [(-4, ((1, 0.5), (3, 1.0)))] * 2
    assert (chat().priority, chat().adapters) == (0, None)
    assert chat(lora=[{"id": 1, "scale": 0}]).adapters == ()


@pytest.mark.parametrize(
    "fields", [{"max_tokens": 0}, {"n_predict": 0}, {"max_completion_tokens": 0, "max_tokens": 5}]
)
def test_completions_may_generate_nothing(fields: dict[str, Any]) -> None:
    assert completion(**fields)[0].params.max_tokens == 0


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (None, "messages[0].content"),
        ([{"type": "image_url", "image_url": {"url": "x"}}], "messages[0].content[0].image_url.url"),
        ([{"type": "text", "text": "x"}, {"type": "input_audio"}], "messages[0].content[1]"),
        ([{"type": "text"}], "messages[0].content[0].text"),
        ([{"type": "poem", "text": "x"}], "messages[0].content[0].type"),
        ([{}], "messages[0].content[0].type"),
    ],
)
def test_contents_that_are_refused(content: Any, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        chat(messages=[{"role": "user", "content": content}])
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"), [({"n_predict": 0}, "n_predict"), ({"min_tokens": 5, "max_tokens": 4}, "min_tokens")]
)
def test_limits_that_contradict(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        chat(**fields)
    assert caught.value.param == param


def test_a_context_slides_only_where_a_client_wants_that() -> None:
    assert (chat().context_shift, chat(context_shift=False).context_shift) == (None, False)
    slid = chat(context_shift=True, n_keep=5, max_tokens=9)
    assert (slid.context_shift, slid.n_keep) == (True, 5)
    (text,) = completion(context_shift=True, n_predict=9)
    assert (text.context_shift, text.n_keep) == (True, None)


@pytest.mark.parametrize("fields", [{}, {"max_tokens": -1}])
def test_a_context_that_slides_needs_an_end(fields: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="context_shift") as caught:
        chat(context_shift=True, **fields)
    assert caught.value.param == "max_tokens"
