from __future__ import annotations

import base64
import math
import struct
from typing import Any

import pytest
from openai import AsyncOpenAI

from server.engine.events import Failure, Vectors
from server.ipc.prompts import PooledInputs
from tests.server.http_client import app_for, client_for, error_of, serving
from tests.server.scripted_service import ScriptedService, pools

DOCUMENTS = ["a river", "a stone", "the moon"]


def service(*rows: tuple[float, ...], **options: Any) -> ScriptedService:
    scripted = ScriptedService()
    scripted.pool_script = pools(*rows, **options)
    return scripted


async def post(path: str, body: dict[str, Any], scripted: ScriptedService | None = None) -> Any:
    async with client_for(scripted) as client:
        response = await client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


async def refused(path: str, body: dict[str, Any], status: int = 400) -> dict[str, Any]:
    async with client_for() as client:
        response = await client.post(path, json=body)
    assert response.status_code == status, response.text
    return error_of(response)


# --- OpenAI's ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embeddings"])
async def test_vectors_come_in_the_order_of_their_texts(path: str) -> None:
    answer = await post(path, {"model": "demo", "input": ["a", "b"]})
    assert answer == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [pytest.approx(0.6), pytest.approx(0.8)]},
            {"object": "embedding", "index": 1, "embedding": [1.0, 0.0]},
        ],
        "model": "demo",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }


async def test_base64_holds_little_endian_floats() -> None:
    answer = await post("/v1/embeddings", {"input": "a", "encoding_format": "base64"})
    assert base64.b64decode(answer["data"][0]["embedding"]) == struct.pack("<2f", 0.6, 0.8)


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ("a", ("a",)),
        ("", ("",)),
        ([5, 6], ((5, 6),)),
        ([5, "a", 6], ((5, "a", 6),)),
        (["a", "b"], ("a", "b")),
        ([[5, 6], [7]], ((5, 6), (7,))),
        (["a", [5, "b"]], ("a", (5, "b"))),
        ({"prompt_string": "a"}, ("a",)),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, ("ab",)),
        (["a", {"prompt_string": "b"}, {"content": [{"type": "text", "text": "c"}]}], ("a", "b", "c")),
    ],
)
async def test_an_input_may_have_every_form(given: Any, texts: tuple[Any, ...]) -> None:
    scripted = ScriptedService()
    answer = await post("/v1/embeddings", {"input": given}, scripted)
    assert len(answer["data"]) == len(texts)
    assert scripted.pools[0].inputs == PooledInputs(texts)


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ([], "input"),
        ([[]], "input[0]"),
        (5, "input"),
        (["a", 5.5], "input[1]"),
        ([5, None], "input"),
        ([5, -1], "input"),
        ([[5, True]], "input[0]"),
        ({"content": "a"}, "input"),
        ({"content": [{"type": "image_url", "image_url": {"url": "data:"}}]}, "input.content"),
        ({}, "input"),
    ],
)
async def test_an_input_that_is_no_text_is_refused_by_name(given: Any, param: str) -> None:
    error = await refused("/v1/embeddings", {"input": given})
    assert (error["param"], error["code"]) == (param, "invalid_value")
    assert param in error["message"]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embedding"])
async def test_without_an_input_the_field_is_named(path: str) -> None:
    assert (await refused(path, {"model": "demo"}))["param"] == "input"


@pytest.mark.parametrize(
    ("field", "value"),
    [("dimensions", 0), ("encoding_format", "int8"), ("embd_normalize", -2), ("truncate", "MIDDLE")],
)
async def test_a_field_that_is_wrong_is_named(field: str, value: Any) -> None:
    assert (await refused("/v1/embeddings", {"input": "a", field: value}))["param"] == field


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({}, {"cut": None, "norm": 2, "prompts": (), "add_special": True, "wants": "vectors"}),
        ({"dimensions": 2, "priority": 3}, {"dimensions": 2, "priority": 3}),
        ({"truncate": True}, {"cut": "end", "max_tokens": None}),
        ({"truncation": True, "truncation_direction": "Left"}, {"cut": "start"}),
        ({"truncate": "START"}, {"cut": "start"}),
        ({"truncate": "END"}, {"cut": "end"}),
        ({"truncate": "NONE", "truncation": True}, {"cut": None}),
        ({"truncate": False}, {"cut": None}),
        ({"truncate_prompt_tokens": 5}, {"cut": "end", "max_tokens": 5}),
        ({"truncate_prompt_tokens": -1}, {"cut": "end", "max_tokens": None}),
        ({"normalize": False}, {"norm": -1}),
        ({"normalized": False}, {"norm": -1}),
        ({"embd_normalize": 1}, {"norm": 1}),
        ({"prompt_name": "s2p"}, {"prompts": ("s2p",), "must_have_prompt": True}),
        ({"prompt": "Find: "}, {"prompt_text": "Find: "}),
        ({"add_special_tokens": False}, {"add_special": False}),
    ],
)
async def test_wishes_reach_the_worker(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    scripted = ScriptedService()
    await post("/v1/embeddings", {"input": "a", **fields}, scripted)
    assert {name: getattr(scripted.pools[0], name) for name in sent} == sent


@pytest.mark.parametrize("name", ["query", "search_query", "retrieval.query"])
@pytest.mark.parametrize("field", ["input_type", "task"])
async def test_the_names_of_one_prompt_mean_the_same(field: str, name: str) -> None:
    scripted = ScriptedService()
    await post("/v1/embeddings", {"input": "a", field: name}, scripted)
    (pool,) = scripted.pools
    assert pool.prompts[0] == name
    assert {"query", "search_query", "retrieval.query"} <= set(pool.prompts)
    assert not pool.must_have_prompt


async def test_thousands_of_texts_are_read_in_another_process() -> None:
    scripted = ScriptedService()
    answer = await post("/v1/embeddings", {"input": [f"text {i}" for i in range(5_000)]}, scripted)
    assert [entry["index"] for entry in answer["data"]] == list(range(5_000))
    assert scripted.pools[0].inputs.texts[4_999] == "text 4999"


async def test_the_official_client_reads_both_encodings() -> None:
    async with serving(app_for()) as url, AsyncOpenAI(base_url=f"{url}/v1", api_key="x") as client:
        packed = await client.embeddings.create(model="demo", input=["a", "b"])
        plain = await client.embeddings.create(model="demo", input=["a", "b"], encoding_format="float")
    assert [entry.embedding for entry in packed.data] == [entry.embedding for entry in plain.data]
    assert packed.usage.total_tokens == 7


async def test_a_failure_is_answered_with_its_status() -> None:
    scripted = ScriptedService()
    scripted.pool_script = lambda pool: [
        Failure(id=pool.id, kind="invalid_request", message="too long", param="input[1]", code="c")
    ]
    async with client_for(scripted) as client:
        response = await client.post("/v1/embeddings", json={"input": ["a", "b"]})
    assert response.status_code == 400
    assert error_of(response)["param"] == "input[1]"


# --- llama-server's and TEI's -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/embedding", "/embeddings", "/v1/embeddings"])
async def test_content_gets_llama_servers_form(path: str) -> None:
    scripted = ScriptedService()
    answer = await post(path, {"content": "a"}, scripted)
    assert answer == [{"index": 0, "embedding": [[pytest.approx(0.6), pytest.approx(0.8)]]}]
    assert scripted.pools[0].wants == "any"


async def test_vectors_of_tokens_come_as_rows_on_the_route_without_version() -> None:
    scripted = ScriptedService()

    def script(pool: Any) -> list[Any]:
        halves = [struct.pack("<2f", 1, 2), struct.pack("<4f", 3, 4, 5, 6)]  # a long text's come in parts
        parts = [
            Vectors(id=pool.id, indices=(0,), n_rows=(len(half) // 8,), width=2, data=half, meaning="rows")
            for half in halves
        ]
        return [*parts, pools((0.0,))(pool)[-1]]

    scripted.pool_script = script
    answer = await post("/embeddings", {"input": "a"}, scripted)
    assert answer == [{"index": 0, "embedding": [[1, 2], [3, 4], [5, 6]]}]
    every = await post("/embed_all", {"inputs": "a"}, scripted)
    assert every == [[[1, 2], [3, 4], [5, 6]]]
    assert scripted.pools[1].wants == "rows"


async def test_tei_gets_a_list_of_vectors() -> None:
    scripted = ScriptedService()
    answer = await post("/embed", {"inputs": ["a", "b"], "normalize": False, "truncate": True}, scripted)
    assert answer == [[pytest.approx(0.6), pytest.approx(0.8)], [1.0, 0.0]]
    (pool,) = scripted.pools
    assert (pool.norm, pool.cut, pool.param) == (-1, "end", "inputs")


# --- ranks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v2/rerank", "/v1/reranking", "/reranking"])
async def test_documents_come_the_best_first(path: str) -> None:
    scripted = service((-1.0,), (2.0,), (0.0,), meaning="logit")
    answer = await post(path, {"query": "q", "documents": DOCUMENTS}, scripted)
    expected = [(1, 1 / (1 + math.exp(-2))), (2, 0.5), (0, 1 / (1 + math.e))]
    assert [(one["index"], one["relevance_score"]) for one in answer["results"]] == [
        (index, pytest.approx(score)) for index, score in expected
    ]
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert answer["meta"]["billed_units"] == {"search_units": 1}
    assert scripted.pools[0].inputs == PooledInputs(("q", *DOCUMENTS), ((0, 1), (0, 2), (0, 3)))


@pytest.mark.parametrize("field", ["top_n", "top_k"])
async def test_only_the_best_come_with_their_documents(field: str) -> None:
    scripted = service((-1.0,), (2.0,), meaning="logit")
    body = {"query": "q", "documents": ["a", {"text": "b", "id": 5}], field: 1, "return_documents": True}
    answer = await post("/v1/rerank", body, scripted)
    assert [one["document"] for one in answer["results"]] == [{"text": "b", "id": 5}]
    body["documents"] = ["a", "b"]
    answer = await post("/v1/rerank", body, scripted)
    assert [one["document"] for one in answer["results"]] == [{"text": "b"}]


async def test_rank_fields_choose_what_is_read() -> None:
    scripted = service((0.0,), meaning="logit")
    documents = [{"title": "T", "body": "B", "n": 5}]
    body = {"query": {"title": "Q"}, "documents": documents, "rank_fields": ["title", "n"]}
    await post("/v1/rerank", body, scripted)
    assert scripted.pools[0].inputs.texts == ("title: Q", "title: T\nn: 5")


async def test_tei_ranks_texts() -> None:
    scripted = service((-1.0,), (2.0,), meaning="logit")
    body = {"query": "q", "texts": ["a", "b"], "raw_scores": True, "return_text": True}
    assert await post("/rerank", body, scripted) == [
        {"index": 1, "score": 2.0, "text": "b"},
        {"index": 0, "score": -1.0, "text": "a"},
    ]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": "q"}, "documents"),
        ({"query": "q", "documents": []}, "documents"),
        ({"query": "q", "documents": 5}, "documents"),
        ({"query": "q", "documents": [1]}, "documents[0]"),
        ({"query": "q", "documents": ["a", {"body": "b"}]}, "documents[1]"),
        ({"query": 5, "documents": ["a"]}, "query"),
        ({"documents": ["a"]}, "query"),
        ({"query": "q", "documents": ["a"], "top_n": -1}, "top_n"),
        ({"query": "q", "texts": ["a", 5]}, "texts[1]"),
    ],
)
async def test_a_wrong_rerank_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    assert (await refused("/v1/rerank", body))["param"] == param


@pytest.mark.parametrize(
    ("meaning", "raw", "score"),
    [("cosine", False, 0.25), ("probability", False, 0.25), ("probability", True, math.log(1 / 3))],
)
async def test_a_score_that_is_none_of_a_head_stays_as_it_is(meaning: Any, raw: bool, score: float) -> None:
    scripted = service((0.25,), meaning=meaning)
    answer = await post("/v1/rerank", {"query": "q", "documents": ["a"], "raw_scores": raw}, scripted)
    assert answer["results"][0]["relevance_score"] == pytest.approx(score)


async def test_documents_may_have_at_most_so_many_tokens() -> None:
    scripted = service((0.0,), meaning="logit")
    await post("/v2/rerank", {"query": "q", "documents": ["a"], "max_tokens_per_doc": 9}, scripted)
    assert (scripted.pools[0].cut, scripted.pools[0].max_tokens) == ("end", 9)


# --- scores -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/score", "/score"])
@pytest.mark.parametrize(
    ("first", "second"), [("text_1", "text_2"), ("data_1", "data_2"), ("queries", "documents")]
)
async def test_scores_of_one_text_with_each(path: str, first: str, second: str) -> None:
    scripted = service((0.0,), (2.0,), meaning="logit")
    answer = await post(path, {first: "q", second: ["a", "b"]}, scripted)
    assert scripted.pools[0].inputs == PooledInputs(("q", "a", "b"), ((0, 1), (0, 2)))
    assert answer["data"] == [
        {"index": 0, "object": "score", "score": 0.5},
        {"index": 1, "object": "score", "score": pytest.approx(1 / (1 + math.exp(-2)))},
    ]
    assert answer["object"] == "list"
    assert answer["usage"]["total_tokens"] == 7


async def test_as_many_texts_are_paired_in_their_order() -> None:
    scripted = service((0.0,), meaning="logit")
    await post("/v1/score", {"text_1": ["a", "b"], "text_2": ["c", "d"]}, scripted)
    assert scripted.pools[0].inputs == PooledInputs(("a", "b", "c", "d"), ((0, 2), (1, 3)))


async def test_numbers_that_do_not_match_are_refused() -> None:
    error = await refused("/v1/score", {"text_1": ["a", "b"], "text_2": "c"})
    assert error["param"] == "text_1"
    assert (await refused("/v1/score", {"text_1": "a"}))["param"] == "text_2"
