"""A prompt that was served before a restart isn't computed again after it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.cli.program import COMMANDS
from tests.e2e.running import RunningServer, environment, serving

pytestmark = [pytest.mark.e2e, pytest.mark.model]

MODEL = "demo:Q8_0"
PROMPT = [300 + 7 * i % 2000 for i in range(700)]


def complete(server: RunningServer) -> dict[str, Any]:
    """The answer to `PROMPT`, after a short one that warms up what there is to warm up."""
    body = {"model": MODEL, "prompt": [5, 6, 7], "max_tokens": 2, "temperature": 0}
    httpx.post(f"{server.url}/v1/completions", json=body, timeout=60).raise_for_status()
    body |= {"prompt": PROMPT, "max_tokens": 8}
    start_s = time.perf_counter()
    answer: dict[str, Any] = (
        httpx.post(f"{server.url}/v1/completions", json=body, timeout=60).raise_for_status().json()
    )
    print(f"{1e3 * (time.perf_counter() - start_s):.0f} ms", answer["usage"])
    return answer


def n_cached(answer: dict[str, Any]) -> int:
    n: int = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
    return n


def test_a_prompt_is_kept_over_a_restart_until_the_model_is_removed(tmp_path: Path) -> None:
    env = environment(tmp_path, {"HF_HUB_OFFLINE": "1", "CORRAL_PREFIX_CACHE_GIB": "0.5"})
    folder = tmp_path / "corral" / "prefix-cache"
    arguments = (MODEL, "--ctx", "1024", "--parallel", "2")
    answers = []
    for life in range(2):
        with serving(*arguments, env=env, log=tmp_path / f"{life}.log") as server:
            answers.append(complete(server))
    assert [n_cached(answer) for answer in answers] == [0, 699]
    assert answers[0]["choices"][0]["text"] == answers[1]["choices"][0]["text"]
    with serving(*arguments, "--prefix-cache-gib", "0", env=env, log=tmp_path / "off.log") as server:
        assert n_cached(complete(server)) == 0
    for file in folder.glob("*/*.prefix"):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    remove = [sys.executable, "-m", "server.cli", "remove", MODEL, "--yes"]
    with serving(*arguments, env=env, log=tmp_path / "damaged.log") as server:
        assert n_cached(complete(server)) == 0
        refused = subprocess.run(remove, env=env, capture_output=True, text=True, check=False)
    assert "a kept prefix is ignored" in (tmp_path / "damaged.log").read_text()
    assert refused.returncode == 1
    assert "stop that server" in refused.stderr
    assert set(re.findall(r"corral (\w+)", refused.stderr)) <= set(COMMANDS)
    assert list(folder.glob("*/*.prefix"))
    subprocess.run(remove, env=env, check=True)
    assert not folder.exists()


@pytest.mark.thorough
def test_it_is_kept_from_a_running_server_that_unloads(home: Path, tmp_path: Path) -> None:
    """A model that makes room for another is asked again: no restart of the server, but of its worker."""
    with serving(
        *(MODEL, "demo:Q4_K_M", "--max-loaded", "1", "--ctx", "1024", "--parallel", "3"),
        env=environment(home),
        log=tmp_path / "swap.log",
    ) as server:
        first = complete(server)
        body = {"model": "demo:Q4_K_M", "prompt": [5, 6], "max_tokens": 2}
        httpx.post(f"{server.url}/v1/completions", json=body, timeout=60).raise_for_status()
        second = complete(server)
        gone = httpx.post(f"{server.url}/admin/models/{MODEL}/unload", timeout=60).raise_for_status().json()
        assert (gone["state"], gone["memory_bytes"]) == ("available", None)
        third = complete(server)
    assert [n_cached(first), n_cached(second), n_cached(third)] == [0, 699, 699]
