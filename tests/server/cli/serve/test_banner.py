"""The request to try that the banner shows."""

from __future__ import annotations

import json
import shlex
from typing import Any, get_args

import pytest

from models.pooling import ModelKind, PooledKind
from server.cli.serve.banner import example
from server.openai.requests.reading import GenerationRead, PooledRead, ReadJob, read

PURPOSES: dict[str, Any] = {
    "/v1/chat/completions": "chat",
    "/v1/embeddings": "embeddings",
    "/v1/rerank": "rerank",
    "/embedding": "embedding",
}


@pytest.mark.parametrize("kind", ["text", *get_args(PooledKind)])
def test_it_is_one_that_the_models_kind_answers(kind: ModelKind) -> None:
    words = shlex.split(example("http://127.0.0.1:8000", "org/it's", key=True, kind=kind))
    assert words[0] == "curl"
    assert "Authorization: Bearer KEY" in words
    purpose = PURPOSES[words[1].removeprefix("http://127.0.0.1:8000")]
    assert (purpose == "chat") == (kind == "text")
    body = words[words.index("-d") + 1]
    assert json.loads(body)["model"] == "org/it's"
    outcome = read(ReadJob(purpose=purpose), body.encode())
    assert isinstance(outcome, GenerationRead | PooledRead)
    assert not outcome.unknown
