from __future__ import annotations

import pytest

from tests.server.http_client import client_for, error_of

PAGE = "https://app.example"


@pytest.mark.parametrize(
    ("origin", "method", "allowed"),
    [
        (PAGE, "POST", True),
        (PAGE, "DELETE", True),
        ("https://evil.example", "POST", False),
        (PAGE, "FOO", False),
    ],
)
@pytest.mark.parametrize("private", [{}, {"access-control-request-private-network": "true"}])
async def test_where_keys_are_asked_for_a_preflight_needs_none(
    origin: str, method: str, allowed: bool, private: dict[str, str]
) -> None:
    headers = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": "authorization, x-any",
        **private,
    }
    async with client_for(cors_origins=("https://App.example/",), api_keys=("k",)) as client:
        response = await client.options("/v1/chat/completions", headers=headers)
    assert response.status_code == (200 if allowed else 400)
    assert "Origin" in response.headers["vary"]
    if allowed:
        assert response.headers["access-control-allow-origin"] == PAGE
        assert response.headers["access-control-allow-headers"] == "authorization, x-any"
        assert ("access-control-allow-private-network" in response.headers) == bool(private)
    else:
        assert error_of(response)["code"] == "cors_not_allowed"
        assert "access-control-allow-origin" not in response.headers


async def test_every_origin() -> None:
    async with client_for(cors_origins=("*",)) as client:
        response = await client.get("/health", headers={"origin": PAGE})
    assert response.headers["access-control-allow-origin"] == "*"
