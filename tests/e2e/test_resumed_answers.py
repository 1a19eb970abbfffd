"""Answers whose worker is killed in the middle have the text of an undisturbed run, in F32."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from tests.e2e.running import RunningServer, environment, serving

pytestmark = [pytest.mark.e2e, pytest.mark.model]


@dataclass
class Load:
    """Streams of `n_tokens` tokens each, half of them greedy, half with a seed; `at_once` of them run."""

    server: RunningServer
    n_tokens: int
    at_once: int
    n_characters: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, n: int) -> list[tuple[str, dict[str, Any]]]:
        """Return each stream's text and usage."""
        with ThreadPoolExecutor(self.at_once) as pool:
            return list(pool.map(self._stream, range(n)))

    def _stream(self, number: int) -> tuple[str, dict[str, Any]]:
        sampling = {"temperature": 0} if number % 2 else {"temperature": 0.9, "seed": number, "top_p": 0.98}
        body = {
            "prompt": f"Once upon a time, in the year {1900 + number // 2},",
            "max_tokens": self.n_tokens,
            "ignore_eos": True,
            "repeat_penalty": 1.1,
            "stream": True,
            "stream_options": {"include_usage": True},
            **sampling,
        }
        text = ""
        usage: dict[str, Any] = {}
        url = f"{self.server.url}/v1/completions"
        with httpx.stream("POST", url, json=body, timeout=300) as reply:
            assert reply.status_code == 200
            for line in reply.iter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line.removeprefix("data: "))
                assert "error" not in chunk, chunk
                fresh = "".join(choice["text"] for choice in chunk["choices"])
                text += fresh
                usage = chunk.get("usage") or usage
                with self._lock:
                    self.n_characters += len(fresh)
        return text, usage


def check_a_kill(server: RunningServer, n: int, n_tokens: int, at_once: int) -> None:
    """Compare the same streams of two runs, in the second of which the worker is killed half-way."""
    undisturbed = Load(server, n_tokens, at_once)
    wanted = undisturbed.run(n)
    disturbed = Load(server, n_tokens, at_once)
    [worker] = server.workers()

    def kill() -> None:
        while (
            disturbed.n_characters < undisturbed.n_characters // 2
        ):  # not chunks: they join tokens as time has it
            time.sleep(0.002)
        worker.send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    got = disturbed.run(n)
    killer.join()
    assert not worker.is_running()
    for (text, usage), (other, other_usage) in zip(got, wanted, strict=True):
        assert text == other
        assert usage["completion_tokens"] == n_tokens
        assert usage["prompt_tokens"] == other_usage["prompt_tokens"]
    [(resumed, of)] = re.findall(r"(\d+) of (\d+) answers go on", server.log.read_text())
    assert int(resumed) == int(of) > 0
    metrics = httpx.get(f"{server.url}/metrics", timeout=30).text
    [(counted,)] = [re.findall(r"^corral:answers_resumed_total{.*} ([\d.]+)$", metrics, re.MULTILINE)]
    assert float(counted) == int(resumed)


def test_a_killed_worker_changes_no_text(tmp_path: Path) -> None:
    model = write_tiny_gguf(tmp_path / "pico.gguf", TinyModel(n_ctx_train=512))
    arguments = (str(model), "--parallel", "8", "--ctx", "512")
    with serving(*arguments, env=environment(tmp_path), log=tmp_path / "log") as server:
        check_a_kill(server, 24, 150, 8)


@pytest.mark.thorough
def test_the_demo_goes_on_in_36_streams(home: Path, tmp_path: Path) -> None:
    arguments = ("demo:F32", "--parallel", "12")
    with serving(*arguments, env=environment(home), log=tmp_path / "log") as server:
        check_a_kill(server, 36, 400, 12)
