"""Pooled models in a real worker process: what is computed together is what is computed alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from server.engine.events import Failure, Vectors
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Cancel, Drain, Generate, Pool, Stats, StatsReply
from server.ipc.model_spec import AdapterSpec
from server.ipc.prompts import PooledInputs, TextPrompt
from tests.server.worker.client import WorkerClient
from tests.server.worker.pooled.conftest import ENCODERS, RERANKERS

pytestmark = pytest.mark.model

ROUNDING = 3e-4
"""ggml's GELU comes from a table of F16: the last bit of a sum may choose the next entry."""
TEXTS = ("The river runs", "a stone", "", "the sun and the moon " * 9, "wind", "a b c d e f g")


def pooled(worker: WorkerClient, request_id: str, *texts: Any, **fields: Any) -> npt.NDArray[np.float32]:
    """The rows that a request gets, in the order of its texts."""
    pairs = fields.pop("pairs", ())
    worker.send(Pool(id=request_id, inputs=PooledInputs(texts, pairs), **fields))
    worker.finish(request_id)
    return rows_of(worker, request_id)


def rows_of(worker: WorkerClient, request_id: str) -> npt.NDArray[np.float32]:
    found: dict[int, list[npt.NDArray[np.float32]]] = {}
    for event in worker.events:
        if isinstance(event, Vectors) and event.id == request_id:
            rows = np.frombuffer(event.data, "<f4").reshape(-1, event.width)
            ends = np.cumsum(event.n_rows)
            for index, part in zip(event.indices, np.split(rows, ends[:-1]), strict=True):
                found.setdefault(index, []).append(part)
    return np.concatenate([np.concatenate(found[index]) for index in sorted(found)])


def failure(worker: WorkerClient, request_id: str, *texts: Any, **fields: Any) -> Failure:
    pairs = fields.pop("pairs", ())
    worker.send(Pool(id=request_id, inputs=PooledInputs(texts, pairs), **fields))
    return worker.finish(request_id).failure


@pytest.fixture(scope="module")
def bert(encoders: dict[str, Path]) -> Iterator[WorkerClient]:
    with WorkerClient(encoders["bert"]) as running:
        running.ready()
        yield running


@pytest.fixture
def worker(bert: WorkerClient) -> WorkerClient:
    """A worker that several tests use, one after the other; none sees the events of those before."""
    bert.events.clear()
    return bert


@pytest.mark.parametrize("name", ENCODERS)
def test_texts_computed_together_are_as_alone(encoders: dict[str, Path], name: str) -> None:
    with WorkerClient(encoders[name]) as worker:
        info = worker.ready()
        assert info.pooling is not None
        assert info.pooling.kind == "embedding"
        together = pooled(worker, "all", *TEXTS)
        alone = np.concatenate([pooled(worker, f"t{i}", text) for i, text in enumerate(TEXTS)])
    assert together.shape == (len(TEXTS), 256)
    assert np.abs(together - alone).max() < ROUNDING
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)


def test_the_vector_is_the_mean_of_its_tokens(worker: WorkerClient) -> None:
    rows = pooled(worker, "rows", TEXTS[0], wants="rows")
    vector = pooled(worker, "vector", TEXTS[0], norm=-1)
    assert len(rows) == 11
    assert vector[0] == pytest.approx(rows.mean(axis=0), abs=1e-5)


@pytest.mark.parametrize(("pooling", "place"), [("cls", 0), ("last", -1)])
def test_the_user_may_choose_another_pooling(encoders: dict[str, Path], pooling: Any, place: int) -> None:
    with WorkerClient(encoders["bert"], pooling=pooling) as worker:
        worker.ready()
        rows = pooled(worker, "rows", TEXTS[0], wants="rows")
        vector = pooled(worker, "vector", TEXTS[0], norm=-1)
    assert vector[0] == pytest.approx(rows[place], abs=1e-5)


def test_without_pooling_every_token_has_a_vector(encoders: dict[str, Path]) -> None:
    with WorkerClient(encoders["bert"], pooling="none") as worker:
        worker.ready()
        assert pooled(worker, "a", TEXTS[0], wants="any").shape == (11, 256)
        refused = failure(worker, "b", TEXTS[0])
    assert "pooling 'none'" in refused.message


@pytest.mark.parametrize("pooling", ["mean", "last", "cls"])
def test_any_model_that_writes_text_can_make_vectors(pico_path: Path, pooling: Any) -> None:
    """A causal model's text is computed in steps: as with a micro-batch that has all of it."""
    texts = ("one two three four five " * 8, "six", "seven eight " * 5)
    found = []
    for n_ubatch in (16, 256):
        with WorkerClient(pico_path, pooling=pooling, n_ubatch=n_ubatch, ctx=256) as worker:
            worker.ready()
            found.append(pooled(worker, "a", *texts))
    assert np.abs(found[0] - found[1]).max() < 1e-5


@pytest.mark.parametrize("name", RERANKERS)
def test_pairs_scored_together_are_as_alone(encoders: dict[str, Path], name: str) -> None:
    pairs = tuple((0, i) for i in range(1, len(TEXTS)))
    with WorkerClient(encoders[name]) as worker:
        info = worker.ready()
        assert info.pooling is not None
        assert info.pooling.kind == "rerank"
        together = pooled(worker, "all", *TEXTS, pairs=pairs)
        alone = [pooled(worker, f"p{i}", TEXTS[0], TEXTS[i], pairs=((0, 1),))[0, 0] for _, i in pairs]
        refused = failure(worker, "b", "a")
    assert together[:, 0] == pytest.approx(alone, abs=1e-3)
    assert len({round(float(score), 4) for score in together[:, 0]}) == len(pairs)
    assert "/v1/rerank" in refused.message


def test_an_embedding_model_compares_pairs(worker: WorkerClient) -> None:
    scores = pooled(worker, "a", TEXTS[0], TEXTS[1], pairs=((0, 1), (0, 0)))
    vectors = pooled(worker, "b", TEXTS[0], TEXTS[1])
    assert scores[:, 0] == pytest.approx([float(vectors[0] @ vectors[1]), 1.0], abs=1e-5)


def test_several_labels_are_scores_for_llama_servers_form_alone(encoders: dict[str, Path]) -> None:
    with WorkerClient(encoders["roberta-classifier"]) as worker:
        info = worker.ready()
        assert info.pooling is not None
        assert (info.pooling.kind, info.pooling.labels) == (
            "classification",
            ("contradiction", "entailment", "neutral"),
        )
        assert pooled(worker, "a", "the sun", wants="any").shape == (1, 3)
        refused = failure(worker, "b", "the sun", "the moon", pairs=((0, 1),))
    assert "3 labels" in refused.message


def test_a_text_that_is_too_long_is_refused_or_cut(encoders: dict[str, Path]) -> None:
    long = "river " * 400
    with WorkerClient(encoders["bert"], ctx=64) as worker:
        worker.ready()
        refused = failure(worker, "a", "short", long)
        end = pooled(worker, "b", long, cut="end")
        few = pooled(worker, "c", "the sun", cut="end", max_tokens=3)
        start = pooled(worker, "d", "moon " + long, cut="start")
        ids = pooled(worker, "e", tuple([7] * 100), cut="end")
    assert (refused.code, refused.param) == ("context_length_exceeded", "input")
    assert "'input[1]'" in refused.message
    assert "64 tokens" in refused.message
    assert (len(end), len(few), len(start), len(ids)) == (1, 1, 1, 1)
    usage = [event.usage.prompt_tokens for event in worker.events if hasattr(event, "usage")]
    assert usage == [64, 3, 64, 64]


def test_a_pair_that_is_too_long_loses_the_end_of_its_longer_text(encoders: dict[str, Path]) -> None:
    with WorkerClient(encoders["xlm-roberta-reranker"], ctx=32) as worker:
        worker.ready()
        pairs = {"pairs": ((0, 1),)}
        refused = failure(worker, "a", "the sun", "a stone " * 40, **pairs)
        scores = pooled(worker, "b", "the sun", "a stone " * 40, cut="end", **pairs)
    assert refused.code == "context_length_exceeded"
    assert scores.shape == (1, 1)


@pytest.mark.parametrize(
    ("texts", "fields", "message"),
    [
        (((9_999,),), {}, "token id 9999"),
        (("a",), {"dimensions": 257}, "256 numbers"),
        (("",), {"add_special": False}, "no tokens"),
        (("a",), {"prompts": ("query",), "must_have_prompt": True}, "no prompt called 'query'"),
    ],
)
def test_what_can_not_be_is_refused_and_others_go_on(
    worker: WorkerClient, texts: Any, fields: dict[str, Any], message: str
) -> None:
    assert message in failure(worker, "a", *texts, **fields).message
    assert pooled(worker, "b", "the sun").shape == (1, 256)


def test_dimensions_are_cut_and_normalized_again(worker: WorkerClient) -> None:
    whole = pooled(worker, "a", "the sun", norm=-1)[0]
    short = pooled(worker, "b", "the sun", dimensions=64)[0]
    assert short == pytest.approx(whole[:64] / np.linalg.norm(whole[:64]), abs=1e-6)


def test_each_kind_refuses_the_others_requests(worker: WorkerClient, pico_path: Path) -> None:
    worker.send(Generate(id="g", prompt=TextPrompt("Hi"), params=SamplingParams()))
    refused = worker.finish("g").failure
    assert (refused.code, refused.param) == ("model_kind_not_supported", "model")
    assert "/v1/embeddings" in refused.message
    with WorkerClient(pico_path) as writer:
        writer.ready()
        refused = failure(writer, "p", "Hi")
    assert (refused.code, refused.kind) == ("model_kind_not_supported", "invalid_request")
    assert "--pooling" in refused.message


def test_a_request_can_be_cancelled_and_the_rest_drained(encoders: dict[str, Path]) -> None:
    with WorkerClient(encoders["bert"]) as worker:
        worker.ready()
        worker.send(Pool(id="many", inputs=PooledInputs(("the sun and the moon " * 8,) * 3_000)))
        worker.send(Pool(id="one", inputs=PooledInputs(("wind",))))
        worker.finish("one")
        worker.send(Cancel(id="many"))
        assert worker.finish("many").failure.kind == "cancelled"
        stats = worker.call(Stats(id="s"), StatsReply)
        assert (stats.running, stats.waiting) == (0, 0)
        assert 0 < stats.prompt_tokens_total < 3_000 * 24
        worker.send(Pool(id="last", inputs=PooledInputs(("wind",) * 50)))
        worker.send(Drain(grace_s=30.0))
        worker.finish("last")
        assert isinstance(worker.receive(), StatsReply)  # its last figures
        assert worker.receive() is None
        assert worker.process.wait(60) == 0


def test_an_adapter_is_refused(encoders: dict[str, Path], tmp_path: Path) -> None:
    with WorkerClient(encoders["bert"], adapters=(AdapterSpec(1, str(tmp_path / "a.gguf")),)) as worker:
        assert "LoRA" in worker.refused().message


def test_a_head_is_needed_for_ranks(encoders: dict[str, Path]) -> None:
    with WorkerClient(encoders["bert"], pooling="rank") as worker:
        assert "no classifier's head" in worker.refused().message


def test_a_causal_embedder_is_told_by_its_header(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "embedder.gguf", TinyModel(pooling="last"))
    with WorkerClient(path) as worker:
        info = worker.ready()
        assert info.pooling is not None
        assert (info.pooling.name, info.pooling.is_causal) == ("last", True)
        assert pooled(worker, "a", "Hello").shape == (1, info.n_embd)
