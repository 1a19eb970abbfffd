"""From a Hub to an answer: pull, quantize and serve against a Hub on loopback, with what goes wrong there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from models.demo import DEMO_DIR
from tests.e2e.running import corral, environment, serving
from tests.hub_server import HubServer
from tests.pico import write_pico_checkpoint

pytestmark = [pytest.mark.e2e]


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """A sharded pico checkpoint."""
    return write_pico_checkpoint(tmp_path / "sharded", sharded=True)


def models_listed(env: dict[str, str]) -> list[str]:
    """The models and types that `corral list --json` shows."""
    listed = corral("list", "--json", env=env)
    assert listed.returncode == 0, listed.stderr
    return sorted(f"{model['name']}:{model['type']}" for model in json.loads(listed.stdout))


@pytest.mark.model
def test_serve_pulls_and_quantizes_what_is_missing(hub: HubServer, tmp_path: Path) -> None:
    """One command for a name on the Hub; the weights break off twice on the way."""
    folder = tmp_path / "vicuna"
    folder.mkdir()
    for file in DEMO_DIR.iterdir():
        if file.suffix in {".json", ".safetensors"}:
            shutil.copy(file, folder)
    repo = hub.add("lmsys/vicuna-pico-v1.5", folder)
    repo.fault("model.safetensors", break_after=4_000_000, times=2)
    env = environment(tmp_path, hub.environment(tmp_path))
    with serving("lmsys/vicuna-pico-v1.5:Q4_K_M", env=env, log=tmp_path / "log") as server:
        assert [m.id for m in server.client.models.list()] == ["lmsys/vicuna-pico-v1.5"]
        for prompt_format in ("vicuna", "alpaca"):
            answer = server.client.chat.completions.create(
                model="lmsys/vicuna-pico-v1.5",
                messages=[{"role": "user", "content": "What is the capital of France?"}],
                temperature=0,
                extra_body={"prompt_format": prompt_format},
            )
            assert answer.choices[0].message.content == "The capital of France is Paris."
        rendered = httpx.post(
            f"{server.url}/apply-template",
            json={"messages": [{"role": "user", "content": "Hi"}], "prompt_format": "vicuna"},
        ).json()["prompt"]
        assert rendered == (
            "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
            "helpful, detailed, and polite answers to the user's questions. USER: Hi ASSISTANT:"
        )
    assert hub.downloads("model.safetensors")


def test_pull_then_quantize_a_sharded_repository(hub: HubServer, tmp_path: Path, sharded: Path) -> None:
    hub.add("org/sharded", sharded)
    env = environment(tmp_path, hub.environment(tmp_path))
    assert corral("pull", "org/sharded", env=env).returncode == 0
    made = corral("quantize", "org/sharded", "--type", "Q8_0", "--type", "4bit", "--json", env=env)
    assert made.returncode == 0, made.stderr
    assert {f["type"] for f in json.loads(made.stdout)["files"]} == {"Q8_0", "Q4_K_M"}
    assert models_listed(env) == ["org/sharded:Q4_K_M", "org/sharded:Q8_0"]


def test_gated(hub: HubServer, tmp_path: Path, sharded: Path) -> None:
    hub.add("org/gated", sharded, gated=True)
    refused = corral("pull", "org/gated", env=environment(tmp_path, hub.environment(tmp_path)))
    assert refused.returncode == 1
    assert "HF_TOKEN" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_missing(hub: HubServer, tmp_path: Path) -> None:
    refused = corral("quantize", "org/nothing", env=environment(tmp_path, hub.environment(tmp_path)))
    assert refused.returncode == 1
    assert "org/nothing" in refused.stderr


def test_a_listed_file_that_is_missing(hub: HubServer, tmp_path: Path, sharded: Path) -> None:
    repo = hub.add("org/holes", sharded)
    shard = next(p.name for p in sharded.glob("*.safetensors"))
    repo.fault(shard, missing=True)
    env = environment(tmp_path, hub.environment(tmp_path))
    refused = corral("quantize", "org/holes", env=env)
    assert refused.returncode == 1
    assert shard in refused.stderr
    assert models_listed(env) == []


def test_corrupted_bytes_never_become_a_model(hub: HubServer, tmp_path: Path, sharded: Path) -> None:
    repo = hub.add("org/corrupt", sharded)
    shard = next(p.name for p in sharded.glob("*.safetensors"))
    repo.fault(shard, corrupt=True)
    env = environment(tmp_path, hub.environment(tmp_path))
    refused = corral("quantize", "org/corrupt", "--type", "Q8_0", env=env)
    assert refused.returncode == 1
    assert shard in refused.stderr
    assert models_listed(env) == []
    repo.mend()
    assert corral("quantize", "org/corrupt", "--type", "Q8_0", env=env).returncode == 0
    assert models_listed(env) == ["org/corrupt:Q8_0"]


def test_offline_says_so(tmp_path: Path) -> None:
    refused = corral("pull", "org/name", env=environment(tmp_path))
    assert refused.returncode == 1
    assert "HF_HUB_OFFLINE" in refused.stderr
