"""An embedding model and a reranker served by the installed command, as clients use them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.running import RunningServer, corral, environment, serving
from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import read_golden
from tests.quantize.families.generation_golden import PROMPT
from tests.server.worker.family_models import write_family_gguf

pytestmark = [pytest.mark.e2e, pytest.mark.model]

MODELS = ("bert", "xlm-roberta-reranker", "embedding-gemma", "lfm2-colbert", "lfm2-bidirectional")
DOCUMENTS = ["The river runs past the stone.", "moon", "the sun and the wind"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embeddings")
    for name in MODELS:
        write_family_gguf(name, folder)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    models = [str(folder / f"{name}.gguf") for name in MODELS]
    with serving(*models, env=environment(folder), log=folder / "log") as running:
        yield running


def test_the_openai_client_gets_vectors(server: RunningServer) -> None:
    with server.client as client:
        answer = client.embeddings.create(model="bert", input=[*DOCUMENTS, *["wind"] * 300])
        alone = client.embeddings.create(model="bert", input=DOCUMENTS[0], encoding_format="float")
    assert [entry.index for entry in answer.data] == list(range(303))
    assert answer.data[0].embedding == pytest.approx(alone.data[0].embedding, abs=1e-5)
    assert math.hypot(*alone.data[0].embedding) == pytest.approx(1.0, abs=1e-5)
    assert answer.usage.prompt_tokens > 303


def golden(name: str) -> dict[str, Any]:
    decoded: dict[str, Any] = read_golden(next(one for one in ALL_FAMILIES if one.name == name))["decoded"]
    return decoded


def test_vectors_behind_dense_layers_are_those_of_sentence_transformers(server: RunningServer) -> None:
    expected = golden("embedding-gemma")["pooled"]
    with server.client as client:
        answer = client.embeddings.create(model="embedding-gemma", input=PROMPT, encoding_format="float")
    assert answer.data[0].embedding[: len(expected)] == pytest.approx(expected, abs=1e-3)


def test_a_colbert_has_a_vector_for_each_token(server: RunningServer) -> None:
    expected = golden("lfm2-colbert")["logits"]
    with httpx.Client(base_url=server.url, timeout=60) as client:
        (answer,) = client.post("/embedding", json={"model": "lfm2-colbert", "content": PROMPT}).json()
    assert [len(vector) for vector in answer["embedding"]] == [128] * len(PROMPT)
    assert answer["embedding"][-1][: len(expected)] == pytest.approx(expected, abs=1e-3)


def test_texts_of_a_bidirectional_lfm2_see_only_themselves(server: RunningServer) -> None:
    texts = [PROMPT, PROMPT[:5], PROMPT[3:]]
    with server.client as client:
        several = client.embeddings.create(model="lfm2-bidirectional", input=texts, encoding_format="float")
        for text, entry in zip(texts, several.data, strict=True):
            alone = client.embeddings.create(model="lfm2-bidirectional", input=text, encoding_format="float")
            assert entry.embedding == pytest.approx(alone.data[0].embedding, abs=1e-5)
    changed = [*PROMPT[:-1], PROMPT[0]]
    with server.client as client:
        other = client.embeddings.create(model="lfm2-bidirectional", input=changed, encoding_format="float")
    assert other.data[0].embedding != pytest.approx(several.data[0].embedding, abs=1e-3)


def test_a_reranker_ranks_and_each_kind_is_told(server: RunningServer) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        body = {"model": "xlm-roberta-reranker", "query": "river", "documents": DOCUMENTS, "top_n": 2}
        results = client.post("/v1/rerank", json=body).json()["results"]
        kinds = {one["id"]: one["kind"] for one in client.get("/v1/models").json()["data"]}
        chat = {"model": "bert", "messages": [{"role": "user", "content": "Hi"}]}
        refused = client.post("/v1/chat/completions", json=chat)
    assert len(results) == 2
    assert results[0]["relevance_score"] >= results[1]["relevance_score"]
    assert kinds == {**dict.fromkeys(MODELS, "embedding"), "xlm-roberta-reranker": "rerank"}
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "model_kind_not_supported"


def test_show_tells_the_kind(folder: Path) -> None:
    shown = corral("show", str(folder / "bert.gguf"), "--json", env=environment(folder))
    assert '"kind": "embedding"' in shown.stdout
    assert '"pooling": "mean"' in shown.stdout
