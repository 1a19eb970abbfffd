from __future__ import annotations

import json
import socket

import pytest

from models.errors import ConfigError, CorralError
from server.loadtest.target import Target
from tests.server.loadtest.scripted_server import openai, serving


def target(**changes: object) -> Target:
    values = {
        "host": "host",
        "port": 80,
        "tls": False,
        "base_path": "/v1",
        "family": socket.AF_INET,
        "address": ("127.0.0.1", 80),
        **changes,
    }
    return Target(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
def test_with_and_without_v1(path: str) -> None:
    with serving(openai()) as server:
        found = Target.find(server.url + path)
        assert (found.base_path, found.port, found.tls) == ("/v1", server.port, False)
        assert found.url == f"{server.url}/v1"
        assert Target.find(f"{server.url}/proxy{path}").base_path == "/proxy/v1"


def test_a_scheme_may_be_left_out_and_every_address_of_a_name_is_tried() -> None:
    with serving(openai()) as server:
        found = Target.find(f"localhost:{server.port}")
        assert found.address[0] == "127.0.0.1"


@pytest.mark.parametrize("url", ["ftp://host", "http://", "", "http://host:port", "http://host:99999"])
def test_no_url(url: str) -> None:
    with pytest.raises(ConfigError):
        Target.find(url)


def test_nobody_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(CorralError, match=rf"nothing answers at 127.0.0.1, port {port} \(.*refused"):
            Target.find(f"http://127.0.0.1:{port}")


def test_requests() -> None:
    request = target(api_key="secret").stream({"prompt": "é", "max_tokens": 3}, "short")
    head, _, body = request.payload.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v1/completions HTTP/1.1"
    assert "Authorization: Bearer secret" in lines
    assert f"Content-Length: {len(body)}" in lines
    assert json.loads(body) == {
        "prompt": "é",
        "max_tokens": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert (request.label, request.max_tokens) == ("short", 3)


def test_messages_go_to_chat() -> None:
    assert target().stream({"messages": []}).payload.startswith(b"POST /v1/chat/completions ")


@pytest.mark.parametrize(
    ("changes", "host"),
    [
        ({}, "host"),
        ({"port": 81}, "host:81"),
        ({"host": "::1", "port": 81}, "[::1]:81"),
        ({"port": 443, "tls": True}, "host"),
    ],
)
def test_host_header(changes: dict[str, object], host: str) -> None:
    assert f"\r\nHost: {host}\r\n".encode() in target(**changes).get("/models").payload
