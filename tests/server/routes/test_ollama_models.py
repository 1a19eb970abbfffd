"""`/api/tags`, `ps`, `show`, `pull` and `delete`, on a store of real files whose workers follow a script."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.paths import Paths
from models.reference import ModelRef
from models.store.manifest import Manifest, ManifestFile, Source
from models.store.store import ModelStore
from server.app import create_app
from server.config import ServerConfig
from server.http.parts import AppParts
from server.ipc.model_spec import ModelSpec
from server.jobs.table import JobTable
from server.ollama.abilities import thinks
from server.ollama.model_files import parameter_size
from server.supervisor.catalogue import Catalogue, file_entry, store_entries
from server.supervisor.lives import ModelLives
from server.supervisor.supervisor import Supervisor
from tests.server.jobs.test_table import TELLS, scripted
from tests.server.scripted_service import ScriptedService
from tests.server.supervisor.conftest import QUICK, scripted_command

TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}<think></think>"
SHA = "ab" * 32


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", TinyModel(chat_template=TEMPLATE))


@pytest.fixture
def store(tmp_path: Path, tiny: Path) -> ModelStore:
    """A store of one model with two types, of the same bytes."""
    store = ModelStore(Paths(home=tmp_path / "home", hf_cache=tmp_path / "hf"))
    with store.staging(ModelRef.parse("org/one")) as staging:
        types = ("Q8_0", "Q4_K_M")
        for type_ in types:
            (staging.path / type_).write_bytes(tiny.read_bytes())
        size = tiny.stat().st_size
        staging.publish(
            Manifest(
                name="org/one",
                source=Source(kind="hub", repo="org/one", revision="a" * 40),
                files=tuple(ManifestFile.single(type_, type_, size, SHA) for type_ in types),
                created="2026-01-02T03:04:05+00:00",
            )
        )
    return store


@pytest_asyncio.fixture
async def client(store: ModelStore, tiny: Path, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The store's models, and the tiny file, with which the server was started; but it loads none."""
    script = tmp_path / "script.json"
    script.write_text(json.dumps({}))
    supervisor = Supervisor(
        Catalogue((file_entry(tiny),), lambda: store_entries(store)),
        lambda entry: ModelSpec(name=entry.name, path=str(script)),
        policy=QUICK,
        command=scripted_command,
    )
    app = create_app(ServerConfig(), supervisor, AppParts(lives=ModelLives(supervisor, store)))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://corral") as made:
        yield made
    supervisor.kill()
    await supervisor.stop(0.0)


async def delete(client: httpx.AsyncClient, model: str) -> httpx.Response:
    return await client.request("DELETE", "/api/delete", json={"model": model})


async def names(client: httpx.AsyncClient) -> list[str]:
    return [model["name"] for model in (await client.get("/api/tags")).json()["models"]]


async def test_tags(client: httpx.AsyncClient) -> None:
    models = (await client.get("/api/tags")).json()["models"]
    assert [model["model"] for model in models] == await names(client)
    by_name = {model["name"]: model for model in models}
    assert by_name.keys() >= {"org/one:latest", "org/one:Q4_K_M", "org/one:Q8_0", "tiny:latest"}
    latest = by_name["org/one:latest"]
    assert {**latest, "name": "", "model": ""} == {**by_name["org/one:Q4_K_M"], "name": "", "model": ""}
    assert (latest["size"], latest["digest"]) == (by_name["tiny:latest"]["size"], SHA)
    assert latest["modified_at"] == "2026-01-02T03:04:05.000000Z"
    details = latest["details"]
    assert (details["format"], details["family"], details["families"]) == ("gguf", "llama", ["llama"])
    assert details["quantization_level"] == "Q4_K_M"
    assert details["parameter_size"]
    assert latest["capabilities"] == ["completion", "tools", "thinking"]
    digest = by_name["tiny:latest"]["digest"]
    assert len(digest) == 64
    assert digest != SHA


async def test_show(client: httpx.AsyncClient) -> None:
    for name in ("org/one", "org/one:latest", "hf.co/org/one:q4_k_m"):
        shown = await client.post("/api/show", json={"model": name})
        assert shown.status_code == 200, shown.text
    body = shown.json()
    assert body["template"] == TEMPLATE
    assert body["capabilities"] == ["completion", "tools", "thinking"]
    assert body["details"]["quantization_level"] == "Q4_K_M"
    info = body["model_info"]
    assert info["general.architecture"] == "llama"
    assert info["general.parameter_count"] > 0
    assert info["llama.context_length"] > 0
    assert info["tokenizer.ggml.tokens"] == []
    assert "tokenizer.chat_template" not in info
    assert "tensors" not in body
    assert "FROM hf.co/org/one:q4_k_m" in body["modelfile"]

    whole = (await client.post("/api/show", json={"name": "org/one", "verbose": True})).json()
    assert len(whole["model_info"]["tokenizer.ggml.tokens"]) > 5
    assert {"name", "type", "shape"} == whole["tensors"][0].keys()
    missing = await client.post("/api/show", json={"model": "other"})
    assert missing.status_code == 404
    assert missing.json()["error"].startswith("model 'other' not found")
    assert (await client.post("/api/show", json={})).json() == {"error": "model is required"}


async def test_a_life(client: httpx.AsyncClient) -> None:
    """Empty requests load and unload, `ps` tells what is there, and `delete` unloads first."""
    assert (await client.get("/api/ps")).json() == {"models": []}
    idle = (await client.post("/api/generate", json={"model": "org/one", "keep_alive": 0})).json()
    assert (idle["done_reason"], idle["response"], idle["done"]) == ("unload", "", True)
    assert (await client.get("/api/ps")).json() == {"models": []}

    loaded = (await client.post("/api/chat", json={"model": "org/one", "keep_alive": "1h"})).json()
    assert (loaded["model"], loaded["done"], loaded["done_reason"]) == ("org/one", True, "load")
    assert loaded["message"] == {"role": "assistant", "content": ""}
    (model,) = (await client.get("/api/ps")).json()["models"]
    assert model["name"] == model["model"] == "org/one:latest"
    assert (model["digest"], model["context_length"], model["size_vram"]) == (SHA, 4096, 0)
    assert model["size"] > 1_000_000
    left_s = datetime.fromisoformat(model["expires_at"]).timestamp() - time.time()
    assert 3500 < left_s <= 3600

    embedded = await client.post("/api/embed", json={"model": "org/one", "input": [], "keep_alive": -1})
    assert embedded.json() == {"model": "org/one", "embeddings": []}
    (model,) = (await client.get("/api/ps")).json()["models"]
    assert datetime.fromisoformat(model["expires_at"]).year > 2200
    old = await client.post("/api/embeddings", json={"model": "org/one", "prompt": ""})
    assert old.json() == {"embedding": []}

    asked = {"model": "org/one", "prompt": "tokens 2 0", "raw": True}
    lines = (await client.post("/api/generate", json=asked)).text.splitlines()
    assert json.loads(lines[-1])["done"] is True

    assert (await delete(client, "org/one:latest")).status_code == 200
    assert (await client.get("/api/ps")).json() == {"models": []}
    assert "org/one:Q4_K_M" not in await names(client)
    assert "org/one:latest" in await names(client)  # that is the other type now
    assert (await delete(client, "org/one:q8_0")).status_code == 200
    gone = await delete(client, "org/one")
    assert (gone.status_code, list(gone.json())) == (404, ["error"])


async def test_files_of_others_are_not_deleted(client: httpx.AsyncClient) -> None:
    refused = await delete(client, "tiny")
    assert refused.status_code == 400
    assert "isn't in the store" in refused.json()["error"]
    assert (await client.post("/api/show", json={"model": "tiny"})).status_code == 200


# --- pulls ---


async def pull(jobs: JobTable, **body: Any) -> httpx.Response:
    app = create_app(ServerConfig(), ScriptedService(), AppParts(jobs=jobs))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://corral") as client:
        return await client.post("/api/pull", json=body)


async def test_a_pull_tells_its_progress() -> None:
    streamed = await pull(scripted(TELLS), model="hf.co/org/one:latest")
    assert streamed.headers["content-type"] == "application/x-ndjson"
    first, *middle, last = [json.loads(line) for line in streamed.text.splitlines()]
    assert first == {"status": "pulling manifest"}
    assert last == {"status": "success"}
    assert [(each["completed"], each["total"]) for each in middle] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert {each["status"] for each in middle} == {"pulling org/one"}
    (digest,) = {each["digest"] for each in middle}
    assert digest.startswith("sha256:")
    assert (await pull(scripted(TELLS), name="org/one", stream=False)).json() == {"status": "success"}


async def test_a_pull_that_fails() -> None:
    failing = 'print(json.dumps({"event": "error", "message": "no such model"}), flush=True)\nsys.exit(1)'
    streamed = await pull(scripted(failing), model="org/one")
    assert json.loads(streamed.text.splitlines()[-1]) == {"error": "no such model"}
    whole = await pull(scripted(failing), model="org/one", stream=False)
    assert (whole.status_code, whole.json()) == (500, {"error": "no such model"})
    for model in ("llama3:8b", "/etc", "a/b/c"):
        refused = await pull(scripted(TELLS), model=model)
        assert refused.status_code == 400
        assert "Hugging Face Hub" in refused.json()["error"]
    assert (await pull(scripted(TELLS))).json() == {"error": "model is required"}


WAITS = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended, and kept"))
print(json.dumps({"event": "progress", "stage": "download", "done": 1, "total": 3}), flush=True)
signal.pause()
"""


async def test_a_pull_ends_when_nobody_waits_for_it_any_more() -> None:
    jobs = scripted(WAITS)
    app = create_app(ServerConfig(), ScriptedService(), AppParts(jobs=jobs))
    pulls = app.state.api.pulls
    first, second = (pulls.progress(jobs, "org/one", (), 60.0) for _ in range(2))
    for progress in (first, second):
        assert (await anext(progress))["status"] == "pulling manifest"
        assert (await anext(progress))["completed"] == 1
    (job,) = jobs.list()
    await first.aclose()
    assert job.is_running
    await second.aclose()
    events = [event async for event in job.events(1)]
    assert [name for _, name, _ in events] == ["error"]
    assert job.state == "cancelled"


async def test_a_job_that_an_administrator_began_goes_on() -> None:
    jobs = scripted(WAITS)
    app = create_app(ServerConfig(), ScriptedService(), AppParts(jobs=jobs))
    job = jobs.start("pull", "org/one")
    progress = app.state.api.pulls.progress(jobs, "org/one", (), 60.0)
    assert (await anext(progress))["status"] == "pulling manifest"
    assert (await anext(progress))["completed"] == 1
    await progress.aclose()
    await asyncio.sleep(0)
    assert job.is_running
    await jobs.stop()


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (None, False),
        ("{{ messages }}", False),
        ("{{ m.content.split('</think>')[-1] }}", True),
        ("{% if m.reasoning_content %}", True),
        ("<|channel|>analysis<|message|>", True),
    ],
)
def test_templates_with_thoughts(template: str | None, expected: bool) -> None:
    assert thinks(template) is expected


def test_sizes() -> None:
    sizes = [parameter_size(n) for n in (0, 512, 7_300, 134_515_008, 8_030_261_248)]
    assert sizes == ["", "512", "7K", "134.52M", "8.0B"]


async def test_a_pull_to_a_full_disk_is_a_507(caplog: pytest.LogCaptureFixture) -> None:
    told = {"event": "error", "message": "no room", "code": "disk_full", "log": "no room in /home/me"}
    failing = f"print({json.dumps(told)!r}, flush=True)\nsys.exit(1)"
    whole = await pull(scripted(failing), model="org/one", stream=False)
    assert (whole.status_code, whole.json()["error"]) == (507, "no room")
    assert "no room in /home/me" in caplog.text
