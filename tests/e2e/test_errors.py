"""The error table, answered by the real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.running import RunningServer, environment, serving

pytestmark = [pytest.mark.e2e, pytest.mark.model]

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def keyed(home: Path) -> Iterator[RunningServer]:
    """A server that wants a key; /ready needs none."""
    with serving("demo:Q8_0", "--api-key", "sesame", env=environment(home), log=home / "keyed.log") as server:
        yield server


def chat(server: RunningServer, body: Any = None, key: str = "sesame", **more: Any) -> httpx.Response:
    """POST to /v1/chat/completions: `body` as it is, or a good request changed by `more`."""
    good = {"model": "demo", "messages": HELLO, "max_tokens": 4, **more}
    return httpx.post(
        f"{server.url}/v1/chat/completions",
        headers={"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {}),
        **({"json": good} if body is None else {"content": body}),
        timeout=60,
    )


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"n": 0}, "n"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages[0].role"),
        ({"stop": [""]}, "stop"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"prompt_format": "no-such-format"}, "prompt_format"),
    ],
)
def test_bad_values_are_named(keyed: RunningServer, more: dict[str, Any], param: str) -> None:
    response = chat(keyed, **more)
    error = response.json()["error"]
    assert response.status_code == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert error["message"]


def test_bad_json(keyed: RunningServer) -> None:
    response = chat(keyed, body=b"{not json")
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_a_prompt_longer_than_the_context(keyed: RunningServer) -> None:
    response = chat(keyed, messages=[{"role": "user", "content": "word " * 5000}])
    error = response.json()["error"]
    assert response.status_code == 400
    assert error["code"] == "context_length_exceeded"
    assert error["message"].startswith(
        "This model's maximum context length is 1024 tokens. However, you requested"
    )


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model(keyed: RunningServer, stream: bool) -> None:
    response = chat(keyed, model="nobody/nothing", stream=stream)
    error = response.json()["error"]
    assert response.status_code == 404
    assert error["code"] == "model_not_found"
    assert error["message"] == "The model `nobody/nothing` does not exist; GET /v1/models lists those that do"


@pytest.mark.parametrize("key", ["", "wrong"])
def test_a_missing_or_bad_key(keyed: RunningServer, key: str) -> None:
    response = chat(keyed, key=key)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"


def test_health_and_ready_need_no_key(keyed: RunningServer) -> None:
    assert httpx.get(f"{keyed.url}/health").status_code == 200
    assert httpx.get(f"{keyed.url}/ready").status_code == 200
    assert httpx.get(f"{keyed.url}/v1/models").status_code == 401


def test_an_unknown_route(keyed: RunningServer) -> None:
    response = httpx.get(f"{keyed.url}/v1/nothing", headers={"Authorization": "Bearer sesame"})
    assert response.status_code == 404
    assert set(response.json()) == {"error"}
