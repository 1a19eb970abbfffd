"""Published balancers before two servers: figures add up to what clients counted, and one server may die.

HAProxy is `haproxy` on the path or CORRAL_HAPROXY; the others are modules of the Python that CORRAL_ROUTERS
names: `python3 -m venv V && V/bin/pip install smg vllm-router sglang-router`, CORRAL_ROUTERS=V/bin/python.
"""

from __future__ import annotations

import json
import operator
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import httpx
import pytest
from prometheus_client import parser

from server.cluster.haproxy import Address, haproxy_config
from tests.e2e.running import RunningServer, corral, environment, free_port, serving

pytestmark = [pytest.mark.e2e, pytest.mark.model, pytest.mark.thorough]

HAPROXY = os.environ.get("CORRAL_HAPROXY") or shutil.which("haproxy")
ROUTERS = os.environ.get("CORRAL_ROUTERS")
TOPICS = ("rivers", "bread", "the moon", "trains", "bees", "ships")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client saw of one request."""

    complete: bool = False
    has_begun: bool = False
    """A token has come, or the head of an answer that isn't streamed."""
    problem: str = ""
    """What came in its place, or ended it."""
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def with_usage(self, usage: dict[str, int]) -> Answer:
        return replace(
            self, prompt_tokens=usage["prompt_tokens"], completion_tokens=usage["completion_tokens"]
        )


@dataclass(frozen=True, slots=True)
class Sums:
    """Requests and tokens, as clients counted them or as servers did."""

    requests: float
    prompt_tokens: float
    completion_tokens: float

    @classmethod
    def of_answers(cls, answers: list[Answer]) -> Sums:
        done = [each for each in answers if each.complete]
        return cls(
            len(done), sum(each.prompt_tokens for each in done), sum(each.completion_tokens for each in done)
        )

    @classmethod
    def of_servers(cls, servers: list[RunningServer]) -> Sums:
        names = ("corral:request_success", "corral:prompt_tokens", "corral:generation_tokens")
        sums = dict.fromkeys(names, 0.0)
        for server in servers:
            text = httpx.get(f"{server.url}/metrics", timeout=30, trust_env=False).text
            for family in parser.text_string_to_metric_families(text):
                if family.name in sums:
                    sums[family.name] += sum(sample.value for sample in family.samples)
        return cls(*sums.values())

    def __add__(self, other: Sums) -> Sums:
        return Sums(*map(operator.add, astuple(self), astuple(other)))

    def __sub__(self, other: Sums) -> Sums:
        return Sums(*map(operator.sub, astuple(self), astuple(other)))


def balancer_command(name: str, servers: list[RunningServer], port: int, folder: Path) -> list[str]:
    """The command of a balancer before `servers`, at a port; skip the test where it isn't here."""
    if name == "haproxy":
        if HAPROXY is None:
            pytest.skip("haproxy isn't here; install it, or name it by CORRAL_HAPROXY")
        path = folder / "haproxy.cfg"
        addresses = [Address.parse(server.url) for server in servers]
        path.write_text(haproxy_config(addresses, Address("127.0.0.1", port)))
        return [HAPROXY, "-f", str(path)]
    if ROUTERS is None:
        pytest.skip(f"{name} isn't here; name a Python that has it by CORRAL_ROUTERS")
    return [
        *(ROUTERS, "-m", f"{name}.launch_router", "--host", "127.0.0.1", "--port", str(port)),
        *("--worker-urls", *(server.url for server in servers), "--policy", "cache_aware"),
        *("--balance-abs-threshold", "2", "--balance-rel-threshold", "1.1"),  # or one server gets all
        *("--prometheus-port", str(free_port())),
    ]


@contextmanager
def balancing(name: str, servers: list[RunningServer], folder: Path) -> Iterator[str]:
    """Run a balancer until the end of the block; the URL at which it answers."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(balancer_command(name, servers, port, folder), stdout=out, stderr=out)
        try:
            deadline = time.monotonic() + 60
            while not ask(url, 0, is_streamed=False).complete:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"{name} doesn't answer:\n{log.read_text()[-3000:]}")
                time.sleep(0.2)
            yield url
        finally:
            process.kill()
            process.wait()


def ask(url: str, number: int, *, is_streamed: bool) -> Answer:
    """Ask for a chat's answer; nothing is sent a second time by the client."""
    body = {
        "model": "demo",
        "messages": [{"role": "user", "content": f"Tell me about {TOPICS[number % len(TOPICS)]}. {number}"}],
        "max_tokens": 40,
        "ignore_eos": True,
        "temperature": 0,
        "stream": is_streamed,
        **({"stream_options": {"include_usage": True}} if is_streamed else {}),
    }
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        if is_streamed:
            return streamed(client, body)
        return whole(client, body)


def whole(client: httpx.Client, body: dict[str, object]) -> Answer:
    """The answer as a whole."""
    answer = Answer()
    try:
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            answer = Answer(has_begun=response.status_code == 200)
            text = response.read()
    except httpx.HTTPError as error:
        return replace(answer, problem=repr(error))
    if not answer.has_begun:
        return Answer(problem=f"{response.status_code} {text[:200]!r}")
    return replace(answer, complete=True).with_usage(json.loads(text)["usage"])


def streamed(client: httpx.Client, body: dict[str, object]) -> Answer:
    """The answer of a stream, or what came of it."""
    answer = Answer()
    try:
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            for line in response.iter_lines():
                if line == "data: [DONE]":
                    return replace(answer, complete=answer.completion_tokens > 0)
                if not line.startswith("data: "):
                    answer = replace(answer, problem=answer.problem + line)
                    continue
                event = json.loads(line.removeprefix("data: "))
                if "error" in event:
                    answer = replace(answer, problem=str(event["error"]))
                for choice in event.get("choices", ()):
                    has_text = bool(choice["delta"].get("content"))
                    answer = replace(answer, has_begun=answer.has_begun or has_text)
                if usage := event.get("usage"):
                    answer = answer.with_usage(usage)
    except httpx.HTTPError as error:
        return replace(answer, problem=repr(error))
    return answer


@pytest.fixture(scope="module")
def servers_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the demo model in it."""
    home = tmp_path_factory.mktemp("balanced")
    made = corral("quantize", "demo", "--type", "Q8_0", env=environment(home))
    assert made.returncode == 0, made.stderr
    return home


@pytest.mark.parametrize("name", ["haproxy", "smg", "vllm_router", "sglang_router"])
def test_sums_and_a_death(name: str, servers_home: Path, tmp_path: Path) -> None:
    """Servers count what clients were told; when one is killed, no request is lost that had no token yet."""
    env = environment(servers_home)
    with (
        serving("demo", "--parallel", "4", env=env, log=tmp_path / "0.log") as first,
        serving("demo", "--parallel", "4", env=env, log=tmp_path / "1.log") as second,
        balancing(name, servers := [first, second], tmp_path) as url,
        ThreadPoolExecutor(8) as clients,
    ):
        before = [Sums.of_servers([server]) for server in servers]
        answers = list(clients.map(lambda number: ask(url, number, is_streamed=number % 2 > 0), range(36)))
        assert [each for each in answers if not each.complete] == []
        parts = [Sums.of_servers([server]) - each for server, each in zip(servers, before, strict=True)]
        assert parts[0] + parts[1] == Sums.of_answers(answers)
        served = [part.requests for part in parts]
        assert min(served) > 0

        busier = servers[served.index(max(served))]
        coming = [clients.submit(ask, url, number, is_streamed=number % 2 > 0) for number in range(72)]
        for number, _ in enumerate(as_completed(coming), 1):
            if number == 12:
                busier.process.kill()
        cut = [each for each in (future.result() for future in coming) if not each.complete]
        assert [each for each in cut if not each.has_begun] == []
        assert len(cut) <= 8  # no more than ran at that moment
