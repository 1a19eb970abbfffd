from __future__ import annotations

import time
from pathlib import Path

import pytest

from models.errors import (
    AccessDenied,
    CorralError,
    HubError,
    HubUnreachable,
    ModelNotFound,
)
from models.reference import ModelRef
from tests.hub_server import HubServer, Repo
from tests.models.hub.client import REF, WEIGHTS, Client, same


def test_each_refusal_is_told_apart(client: Client, server: HubServer, repo: Repo, folder: Path) -> None:
    server.users = {"good": "jo", "other": "al"}
    server.add("org/gated", folder, gated=True).readers.add("good")
    server.add("org/private", folder, private=True).readers.add("good")
    gated, private = ModelRef.parse("org/gated"), ModelRef.parse("org/private")

    def refused(kind: type[CorralError], ref: ModelRef) -> str:
        with pytest.raises(CorralError) as caught:
            client.pull(ref)
        assert type(caught.value) is kind
        assert "; " in caught.value.message
        return caught.value.message

    assert f"accept its licence at {server.url}/org/gated and set HF_TOKEN" in refused(AccessDenied, gated)
    assert "private" in refused(ModelNotFound, private)
    assert "set HF_TOKEN" in refused(ModelNotFound, ModelRef.parse("org/none"))
    assert "no revision v9" in refused(ModelNotFound, ModelRef.parse("org/name@v9"))
    client.using(token="other")
    assert "with HF_TOKEN's account" in refused(AccessDenied, gated)
    assert "a token that may read it" in refused(ModelNotFound, private)
    client.using(token="bad")
    assert "invalid" in refused(AccessDenied, REF)
    client.using(token="good")
    assert same(client.pull(gated), folder, WEIGHTS)
    assert same(client.pull(private), folder, WEIGHTS)
    assert server.leaked_tokens == []
    repo.status = 500
    assert "answered 500" in refused(HubError, REF)
    repo.mend()
    repo.fault("config.json", missing=True)
    assert "doesn't have it" in refused(HubError, REF)
    repo.extra_siblings.append("../../evil.json")
    assert "unusable name" in refused(HubError, REF)
    assert "token" not in repr(client.settings)


def test_errors_of_a_file_are_raised_at_once(client: Client, repo: Repo) -> None:
    repo.fault(WEIGHTS, bytes_per_s=300_000)
    repo.fault("config.json", missing=True)
    start = time.monotonic()
    with pytest.raises(HubError, match=r"config\.json"):
        client.pull()
    assert time.monotonic() - start < 4


def test_a_server_that_is_no_hub(client: Client, server: HubServer) -> None:
    client.using(endpoint=f"{server.url}/cdn")
    with pytest.raises(HubError):
        client.plan()


def test_no_connection(client: Client, repo: Repo, folder: Path) -> None:
    there = client.settings.endpoint
    client.using(endpoint="http://127.0.0.1:9")
    with pytest.raises(HubUnreachable, match=r"127\.0\.0\.1:9 can't be reached"):
        client.plan()
    client.using(endpoint=there)
    client.pull()
    client.using(endpoint="http://127.0.0.1:9")
    assert same(client.pull(), folder, WEIGHTS)
