"""What happens to clients when a worker dies, a client leaves, or the server stops."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from tests.e2e.running import RunningServer, environment, serving
from tests.e2e.test_demo import ask

pytestmark = [pytest.mark.e2e, pytest.mark.model]

LONG = {"max_tokens": 900, "extra_body": {"ignore_eos": True}}
"""An answer that is still being written when something happens: it nearly fills the context."""
READY = "demo:Q4_K_M is ready"
"""The server logs this when a worker for the model is loaded, seconds after its start."""


class Reader(threading.Thread):
    """Streams a long answer and notes what it got, and when it ended."""

    def __init__(self, server: RunningServer, model: str, **options: Any) -> None:
        super().__init__(daemon=True)
        self.server, self.model, self.options = server, model, {**LONG, **options}
        self.n_chunks = 0
        self.error: openai.OpenAIError | None = None
        self.finish_reason: str | None = None

    def run(self) -> None:
        try:
            for chunk in self.server.client.chat.completions.create(
                model=self.model,
                messages=[{"role": "user", "content": "Tell me a story."}],
                stream=True,
                **self.options,
            ):
                self.n_chunks += 1
                self.finish_reason = chunk.choices[0].finish_reason
        except openai.OpenAIError as error:
            self.error = error

    def wait_for_chunks(self, n: int) -> None:
        deadline = time.monotonic() + 60
        while self.n_chunks < n and time.monotonic() < deadline:
            time.sleep(0.005)
        assert self.n_chunks >= n, self.error


def test_a_killed_worker_fails_what_can_not_go_on_and_nobody_else(demo_server: RunningServer) -> None:
    """Mirostat can't; others wait for the next worker and have their answer."""
    mirostat = {"extra_body": {"ignore_eos": True, "mirostat": 2}}
    victims = [Reader(demo_server, "demo:Q4_K_M", **mirostat) for _ in range(2)]
    patient = Reader(demo_server, "demo:Q4_K_M", max_tokens=100)
    witness = Reader(demo_server, "demo:Q8_0")
    for reader in [*victims, patient, witness]:
        reader.start()
    for reader in [*victims, patient, witness]:
        reader.wait_for_chunks(4)
    n_starts = demo_server.log.read_text().count(READY)
    assert n_starts > 0
    demo_server.worker_of("demo.Q4_K_M").send_signal(signal.SIGKILL)
    for victim in victims:
        victim.join(timeout=30)
        assert isinstance(victim.error, openai.APIError), victim.finish_reason
    assert demo_server.log.read_text().count(READY) == n_starts, "they waited for the next worker"
    patient.join(timeout=60)
    assert (patient.error, patient.finish_reason) == (None, "length")
    witness.join(timeout=120)
    assert witness.error is None
    assert witness.finish_reason == "length"
    assert "Paris" in ask(demo_server, "What is the capital of France?", "demo:Q4_K_M")


@pytest.mark.thorough
def test_a_stopped_worker_fails_its_clients_soon_and_the_next_request_is_served(
    demo_server: RunningServer,
) -> None:
    mirostat = {"extra_body": {"ignore_eos": True, "mirostat": 2}}
    victims = [Reader(demo_server, "demo:Q4_K_M", **mirostat) for _ in range(2)]
    patient = Reader(demo_server, "demo:Q4_K_M", max_tokens=100)
    for reader in (*victims, patient):
        reader.start()
    for reader in (*victims, patient):
        reader.wait_for_chunks(4)
    stopped_s = time.monotonic()
    demo_server.worker_of("demo.Q4_K_M").send_signal(signal.SIGSTOP)
    for victim in victims:
        victim.join(timeout=30)
        assert isinstance(victim.error, openai.APIError), victim.finish_reason
        assert "it was stopped (SIGSTOP)" in str(victim.error)
    assert time.monotonic() - stopped_s < 15.0
    patient.join(timeout=60)
    assert (patient.error, patient.finish_reason) == (None, "length")
    assert "Paris" in ask(demo_server, "What is the capital of France?", "demo:Q4_K_M")


def test_a_client_that_leaves_frees_its_place(demo_server: RunningServer) -> None:
    leaving = demo_server.client.chat.completions.create(
        model="demo:Q8_0",
        messages=[{"role": "user", "content": "Tell me a story."}],
        stream=True,
        **LONG,  # type: ignore[call-overload]
    )
    next(iter(leaving))
    leaving.close()
    worker = demo_server.worker_of("demo.Q8_0")
    deadline = time.monotonic() + 10
    while worker.cpu_percent(interval=0.3) > 20 and time.monotonic() < deadline:
        pass
    assert time.monotonic() < deadline, "the worker still computes for a client that left"


def test_interrupt_finishes_what_runs_and_leaves_no_process(home: Path, tmp_path: Path) -> None:
    with serving("demo:Q8_0", env=environment(home), log=tmp_path / "log") as server:
        reader = Reader(server, "demo:Q8_0")
        reader.start()
        reader.wait_for_chunks(2)
        workers = server.workers()
        assert workers
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(timeout=60) == 0, server.log.read_text()[-3000:]
        reader.join(timeout=10)
        assert reader.error is None
        assert reader.finish_reason == "length"
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert not alive


def test_workers_die_with_a_killed_server(home: Path, tmp_path: Path) -> None:
    with serving("demo:Q8_0", env=environment(home), log=tmp_path / "log") as server:
        workers = server.workers()
        server.process.kill()
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert not alive


def test_a_full_queue_answers_429(home: Path, tmp_path: Path) -> None:
    with serving(
        *("demo:Q8_0", "--parallel", "1", "--queue-size", "1"), env=environment(home), log=tmp_path / "log"
    ) as server:
        running = Reader(server, "demo:Q8_0")
        running.start()
        running.wait_for_chunks(1)
        answers: list[httpx.Response] = []

        def post() -> None:
            body = {"prompt": "Once", "max_tokens": 4, "ignore_eos": True}
            answers.append(httpx.post(f"{server.url}/v1/completions", json=body, timeout=60))

        threads = [threading.Thread(target=post) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(a.status_code for a in answers) == [200, 429, 429, 429]
    refused = next(a for a in answers if a.status_code == 429)
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(refused.headers["Retry-After"]) >= 1
