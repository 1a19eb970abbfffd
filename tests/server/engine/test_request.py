from __future__ import annotations

import re

import pytest

from models.errors import ContextLengthExceeded, RequestError
from server.engine.request import EngineRequest, check_request
from server.engine.sampling_params import SamplingParams


def asked(
    prompt: list[int], max_tokens: int | None = None, bias: tuple[tuple[int, float], ...] = ()
) -> EngineRequest:
    params = SamplingParams(max_tokens=max_tokens, logit_bias=bias)
    return EngineRequest(id="r", prompt_tokens=prompt, params=params, prompt_param="messages")


@pytest.mark.parametrize(
    ("n_prompt", "max_tokens", "total", "n_completion"),
    [(100, None, 101, 1), (120, None, 121, 1), (100, 41, 141, 41), (101, 0, 101, 0), (100, 1, 101, 1)],
)
def test_too_long_is_said_in_the_words_that_clients_look_for(
    n_prompt: int, max_tokens: int | None, total: int, n_completion: int
) -> None:
    with pytest.raises(ContextLengthExceeded) as refusal:
        check_request(asked([1] * n_prompt, max_tokens), n_ctx=100, n_vocab=10)
    assert refusal.value.message.startswith(
        f"This model's maximum context length is 100 tokens. However, you requested {total} tokens "
        f"({n_prompt} in the messages, {n_completion} in the completion). Please reduce"
    )
    assert refusal.value.code == "context_length_exceeded"
    assert refusal.value.param == "messages"


@pytest.mark.parametrize(
    ("n_prompt", "max_tokens"), [(99, None), (60, 40), (99, 1), (100, 0), (60, 41), (99, 2), (1, 2**31 - 1)]
)
def test_what_just_fits_is_taken(n_prompt: int, max_tokens: int | None) -> None:
    check_request(asked([1] * n_prompt, max_tokens), n_ctx=100, n_vocab=10)


@pytest.mark.parametrize("token", [-1, 10, 2**40])
def test_token_ids_must_be_the_vocabularys(token: int) -> None:
    with pytest.raises(RequestError, match=re.escape("ids go from 0 to 9")):
        check_request(asked([1, token]), n_ctx=100, n_vocab=10)
    with pytest.raises(RequestError, match="logit_bias") as refusal:
        check_request(asked([1], bias=((token, 1.0),)), n_ctx=100, n_vocab=10)
    assert refusal.value.param == "logit_bias"


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(RequestError, match="no tokens"):
        check_request(asked([]), n_ctx=100, n_vocab=10)
