"""`/ping`, `/invocations` and the host's own routes: each shape gets the answer of its own route."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.errors import ConfigError
from models.version import VERSION
from server.app import create_app
from server.config import ServerConfig
from server.config_sources import load_config
from server.http.parts import AppParts
from server.ipc.messages import Generate
from server.keys.caller import ALL_MODELS, KeyLimits, KeyScope
from server.keys.key_file import KeyFile
from server.keys.key_ring import KeyRing
from server.openai.requests.body_limits import INLINE_BYTES
from server.usage.accounts import Accounts
from tests.server.http_client import CHAT, TEXT, client_for, error_of, events_of
from tests.server.scripted_service import DEMO, ScriptedService, Step, pools, says

RANKS = {"query": "q", "documents": ["a", "b"]}


def service() -> ScriptedService:
    scripted = ScriptedService(says("Pa", "ris"))
    scripted.pool_script = pools((0.6, 0.8), (1.0, 0.0))
    return scripted


def same(answer: Any) -> Any:
    """An answer without what is another's in every answer."""
    return {
        name: value for name, value in answer.items() if name not in ("id", "created", "created_at", "output")
    }


@pytest.mark.parametrize(
    ("body", "route"),
    [
        (CHAT, "/v1/chat/completions"),
        (TEXT, "/v1/completions"),
        ({"model": "demo", "input": ["a", "b"]}, "/v1/embeddings"),
        ({"model": "demo", "input": "a", "max_output_tokens": 9}, "/v1/responses"),
        ({"text_input": "a", "model": "demo"}, "/v2/models/demo/generate"),
    ],
)
async def test_a_body_is_answered_as_by_its_own_route(body: dict[str, Any], route: str) -> None:
    async with client_for(service()) as client:
        hosted = await client.post("/invocations", json=body)
        own = await client.post(route, json=body)
    assert (hosted.status_code, own.status_code) == (200, 200), hosted.text
    assert same(hosted.json()) == same(own.json())


async def test_ranks() -> None:
    scripted = ScriptedService()
    scripted.pool_script = pools((0.1,), (0.9,), meaning="logit")
    async with client_for(scripted) as client:
        answer = (await client.post("/invocations", json=RANKS)).json()
    assert [each["index"] for each in answer["results"]] == [1, 0]


async def test_streams_pass_and_so_do_large_bodies() -> None:
    text = "x" * INLINE_BYTES
    scripted = service()
    async with client_for(scripted) as client:
        answer = await client.post("/invocations", json={**TEXT, "prompt": text, "stream": True})
        one = await client.post("/invocations", json={"instances": [{**TEXT, "prompt": text}]})
    *chunks, done = events_of(answer.text)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "Paris"
    assert done == "[DONE]"
    assert one.json()["predictions"][0]["choices"][0]["text"] == "Paris"


async def test_what_the_header_says_fills_what_the_body_leaves_out() -> None:
    scripted = service()
    header = {"X-Amzn-SageMaker-Custom-Attributes": "model=demo;session=7"}
    async with client_for(scripted) as client:
        body = {"messages": CHAT["messages"]}
        assert (await client.post("/invocations", json=body, headers=header)).json()["model"] == "demo"
        header = {"X-Amzn-SageMaker-Custom-Attributes": "adapter=pirate"}
        refused = await client.post("/invocations", json=body, headers=header)
    assert refused.status_code == 404
    assert "demo:pirate" in error_of(refused)["message"]


async def test_instances_become_predictions_in_their_order() -> None:
    scripted = service()
    body = {
        "instances": [{"prompt": "a"}, {"messages": CHAT["messages"]}, {"input": ["a", "b"]}],
        "parameters": {"max_tokens": 1, "model": "demo"},
    }
    async with client_for(scripted) as client:
        response = await client.post("/invocations", json=body)
    assert response.status_code == 200, response.text
    text, chat, vectors = response.json()["predictions"]
    assert (text["object"], text["choices"][0]["text"]) == ("text_completion", "Pa")
    assert chat["choices"][0]["message"]["content"] == "Pa"
    assert len(vectors["data"]) == 2


async def test_a_bad_instance_fails_the_call_with_its_index_and_ends_the_others() -> None:
    ended = asyncio.Event()

    def script(request: Generate) -> Sequence[Step]:
        return [asyncio.Event()]

    scripted = ScriptedService(script)
    body = {"instances": [{"prompt": "a"}, {"prompt": "b", "temperature": -1}]}
    async with client_for(scripted) as client:
        response = await client.post("/invocations", json=body)
    error = error_of(response)
    assert response.status_code == 400
    assert error["message"].startswith("instances[1]: ")
    assert error["param"] == "instances[1].temperature"
    assert not ended.is_set()


async def test_no_more_instances_run_than_are_allowed_side_by_side() -> None:
    running, most = 0, 0

    class Counting(ScriptedService):
        def generate(self, name: str, request: Any) -> Any:
            source = super().generate(name, request)

            class Counted:
                async def subscribe(self, listener: Any) -> None:
                    nonlocal running, most
                    running += 1
                    most = max(most, running)
                    await asyncio.sleep(0)
                    await source.subscribe(listener)
                    running -= 1

            return Counted()

    async with client_for(Counting(says("a"))) as client:
        response = await client.post("/invocations", json={"instances": [{"prompt": "a"}] * 40})
    assert len(response.json()["predictions"]) == 40
    assert most == 16


async def test_shapes_are_named_to_whom_sends_another() -> None:
    async with client_for() as client:
        response = await client.post("/invocations", json={"question": "?"})
        assert error_of(response)["code"] == "unknown_shape"
        assert (await client.get("/invocations")).status_code == 405
        assert (await client.get("/ping")).json() == {"status": "ready"}


async def test_ping_is_ready() -> None:
    scripted = service()
    scripted.is_ready = False
    async with client_for(scripted) as client:
        assert (await client.get("/ping")).status_code == 503


@pytest.mark.parametrize(
    ("scope", "statuses"),
    [("infer", (200, 403, 403)), ("embed", (403, 200, 403)), ("metrics", (403, 403, 403))],
)
async def test_a_key_needs_the_right_of_the_shape(
    tmp_path: Path, scope: KeyScope, statuses: tuple[int, ...]
) -> None:
    file = KeyFile(tmp_path / "keys.json")
    key = file.add("some", (scope,), ALL_MODELS, KeyLimits(), None)[1]
    app = create_app(ServerConfig(), service(), AppParts(accounts=Accounts(KeyRing((), file))))
    bodies = [TEXT, {"input": "a"}, {"instances": [TEXT, {"input": "a"}]}]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://corral") as client:
        headers = {"authorization": f"Bearer {key}"}
        found = [await client.post("/invocations", json=body, headers=headers) for body in bodies]
        assert (await client.post("/invocations", json=TEXT)).status_code == 401
    assert tuple(each.status_code for each in found) == statuses
    refused = [error_of(each)["code"] for each in found if each.status_code == 403]
    assert set(refused) == {"insufficient_scope"}


# --- the host's own routes ----------------------------------------------------------------------------------

VERTEX = {
    "AIP_HTTP_PORT": "8080",
    "AIP_HEALTH_ROUTE": "/v1/endpoints/1/deployedModels/2",
    "AIP_PREDICT_ROUTE": "/v1/endpoints/1/deployedModels/2:predict",
}


async def test_the_hosts_variables_name_port_and_routes() -> None:
    config = load_config({}, VERTEX)
    assert config.port == 8080
    assert load_config({}, {**VERTEX, "CORRAL_PORT": "9000"}).port == 9000
    settings = {"health_route": config.health_route, "predict_route": config.predict_route}
    async with client_for(service(), **settings, api_keys=("k",)) as client:
        assert (await client.get(VERTEX["AIP_HEALTH_ROUTE"])).status_code == 200
        path = VERTEX["AIP_PREDICT_ROUTE"]
        assert (await client.post(path, json={"instances": [TEXT]})).status_code == 401
        headers = {"x-api-key": "k"}
        response = await client.post(path, json={"instances": [TEXT]}, headers=headers)
        assert response.json()["predictions"][0]["choices"][0]["text"] == "Paris"
        plain = await client.post(path, json=CHAT, headers=headers)
        assert plain.json()["choices"][0]["message"]["content"] == "Paris"


async def test_a_hosts_route_may_be_one_of_ours() -> None:
    async with client_for(service(), predict_route="/v1/chat/completions", health_route="/health") as client:
        assert (await client.get("/health")).json() == {"status": "ready"}
        answer = (await client.post("/v1/chat/completions", json=CHAT)).json()
    assert answer["choices"][0]["message"]["content"] == "Paris"


@pytest.mark.parametrize("path", ["predict", "/a/{b}", "/a b", "/a?b", "/", "//"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="AIP_PREDICT_ROUTE: write a path such as /predict"):
        load_config({}, {"AIP_PREDICT_ROUTE": path})


# --- the Open Inference Protocol ----------------------------------------------------------------------------

NAMED = DEMO.__class__(name="org/a model", state="ready", created=1, type="Q8_0", info=DEMO.info)
TENSOR = {"name": "text_input", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}


async def test_tensors_of_texts() -> None:
    async with client_for(service()) as client:
        body = {"id": "7", "inputs": [TENSOR], "parameters": {"max_tokens": 1}}
        answer = (await client.post("/v2/models/demo/infer", json=body)).json()
    assert answer == {
        "model_name": "demo",
        "model_version": "Q4_K_M",
        "id": "7",
        "outputs": [
            {"name": "text_output", "datatype": "BYTES", "shape": [2], "data": ["Pa", "Pa"]},
            {"name": "finish_reason", "datatype": "BYTES", "shape": [2], "data": ["stop", "stop"]},
        ],
    }


async def test_generate_whole_and_as_a_stream() -> None:
    async with client_for(service()) as client:
        whole = await client.post("/v2/models/demo/generate", json={"text_input": "a"})
        stream = await client.post("/v2/models/demo/generate_stream", json={"text_input": "a"})
    head = {"model_name": "demo", "model_version": "Q4_K_M"}
    assert whole.json() == {**head, "text_output": "Paris", "finish_reason": "stop"}
    assert events_of(stream.text) == [
        {**head, "text_output": "Pa"},
        {**head, "text_output": "ris"},
        {**head, "text_output": "", "finish_reason": "stop"},
    ]


@pytest.mark.parametrize(
    "name", ["org/a model", "org%2Fa%20model", "org/a model:Q8_0", "org/a model/versions/Q8_0"]
)
async def test_names_with_slashes_and_colons(name: str) -> None:
    by_type = NAMED.__class__(name="org/a model:Q8_0", state="ready", created=1, type="Q8_0", info=DEMO.info)
    async with client_for(ScriptedService(says("a"), models=[NAMED, by_type])) as client:
        facts = (await client.get(f"/v2/models/{name}")).json()
        assert (await client.get(f"/v2/models/{name}/ready")).json()["ready"] is True
        answer = await client.post(f"/v2/models/{name}/generate", json={"text_input": "a"})
    assert facts["versions"] == ["Q8_0"]
    assert [each["name"] for each in facts["outputs"]] == ["text_output", "finish_reason"]
    assert answer.json()["text_output"] == "a"


async def test_facts_and_errors_of_the_protocol() -> None:
    idle = NAMED.__class__(name="idle", state="available", created=1)
    scripted = ScriptedService(models=[DEMO, idle])
    async with client_for(scripted) as client:
        assert (await client.get("/v2")).json()["extensions"] == ["generate"]
        assert (await client.get("/v2/health/live")).json() == {"live": True}
        assert (await client.get("/v2/health/ready")).json() == {"ready": True}
        assert (await client.head("/v2/health/ready")).status_code == 200
        scripted.is_ready = False
        for path, status in (
            ("/v2/health/ready", 503),
            ("/v2/models/idle/ready", 503),
            ("/v2/models/none", 404),
            ("/v2/models/none/ready", 404),
        ):
            response = await client.get(path)
            assert response.status_code == status
            assert isinstance(response.json()["error"], str)
        bad = await client.post(
            "/v2/models/demo/generate_stream", json={"text_input": "a", "temperature": -1}
        )
        assert bad.status_code == 400
        assert "temperature" in bad.json()["error"]


# --- routers ------------------------------------------------------------------------------------------------


async def test_what_routers_ask() -> None:
    async with client_for(service()) as client:
        assert (await client.get("/version")).json() == {"version": VERSION}
        server = (await client.get("/server_info")).json()
        assert server == (await client.get("/get_server_info")).json()
        assert (server["served_model_name"], server["max_running_requests"]) == ("demo", 8)
        model = (await client.get("/model_info")).json()
        assert model == (await client.get("/get_model_info")).json()
        assert (model["model_path"], model["is_generation"], model["max_model_len"]) == ("demo", True, 2048)
        assert json.loads((await client.get("/v1/loads")).text)["loads"] == []
    async with client_for(service(), metrics=False) as client:
        assert (await client.get("/loads")).status_code == 501
