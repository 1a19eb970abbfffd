"""gpt-oss, Qwen3.5-MoE and Gemma 4: quantized, served, and asked through their real templates.

The weights are random, so a call has its form by the grammar alone, and thoughts begin by chance where the
prompt doesn't begin them. The vocabularies are tiny, but have the real models' special tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import jsonschema
import pytest

from tests.e2e.running import RunningServer, environment, serving
from tests.e2e.sessions import BUDGET, PROTOCOLS, ChatCompletions, Messages, Responses, Session, Turn, post
from tests.e2e.template_models import MODELS, N_CTX, SOURCES, TemplateModel
from tests.quantize.quantize_folder import quantize_folder

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.model,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not SOURCES, reason="CORRAL_LLAMA_CPP_SOURCE names no llama.cpp source tree"),
]

PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Oslo", "Bern", "Rome"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
MOST_OPENING = 20
"""The opening of an answer, or of a message in it, has at most so many tokens here."""
SYSTEM = "You are a helpful assistant. The cat sat on the mat and the dog ran to the door. " * 8


@dataclass(frozen=True, slots=True)
class Served:
    """A model that is served."""

    model: TemplateModel
    server: RunningServer
    name: str
    """The server has it under this name."""
    seeds: list[int] = field(default_factory=lambda: list(range(1, 31)))
    """The seeds to try for a thought; the one that gave the last is the first."""

    def session(self, protocol: type[Session], *, thinks: bool, seed: int = 1) -> Session:
        """Return a session that has asked its first question."""
        more = {"model": self.name, "temperature": 1, "seed": seed}
        session = protocol(self.server, PARAMETERS, system=SYSTEM, thinks=thinks, more=more)
        session.ask("How warm?")
        return session

    def thinking_session(self, protocol: type[Session]) -> tuple[Session, Turn]:
        """Return a session whose first answer, a call, begins with a thought, which chance decides."""
        for place, seed in enumerate(self.seeds):
            session = self.session(protocol, thinks=True, seed=seed)
            turn = session.turn(calls=True)
            if turn.thoughts.strip():
                self.seeds.insert(0, self.seeds.pop(place))
                return session, turn
        raise AssertionError("thirty answers without a thought")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """`corral serve` of files that were quantized of checkpoints."""
    folder = tmp_path_factory.mktemp("new")
    files = []
    for name, model in MODELS.items():
        model.write(folder / name)
        (made,) = quantize_folder(folder / name, ["F16"], folder / "out")
        files.append(str(made.path.rename(folder / f"{name}.gguf")))
    options = (*files, "--ctx", str(N_CTX), "--parallel", "2", "--threads", "1")
    with serving(*options, env=environment(folder), log=folder / "log") as running:
        yield running


@pytest.fixture(scope="module", params=MODELS)
def served(request: pytest.FixtureRequest, server: RunningServer) -> Served:
    return Served(MODELS[request.param], server, request.param)


def rendered(session: ChatCompletions, server: RunningServer) -> str:
    """Return the prompt of a session's next answer."""
    body = session.body()
    reply = httpx.post(f"{server.url}/apply-template", json=body, timeout=60)
    assert reply.status_code == 200, reply.text
    prompt: str = reply.json()["prompt"]
    return prompt


def check_call(turn: Turn) -> dict[str, Any]:
    """Assert that an answer is one or more calls and no text; return the first one's arguments."""
    assert turn.calls, turn
    assert not turn.content.strip()
    for name, arguments in turn.calls:
        assert name == "get_weather"
        jsonschema.validate(arguments, PARAMETERS)
    return turn.calls[0][1]


@pytest.mark.parametrize(
    ("protocol", "thinks"),
    [
        *((protocol, True) for protocol in PROTOCOLS),
        (ChatCompletions, False),
        *(pytest.param(protocol, False, marks=pytest.mark.thorough) for protocol in (Messages, Responses)),
    ],
)
def test_a_call_its_result_and_a_question(served: Served, protocol: type[Session], thinks: bool) -> None:
    if thinks:
        session, first = served.thinking_session(protocol)
    else:
        session = served.session(protocol, thinks=False)
        first = session.turn(calls=True)
        assert not first.thoughts
    check_call(first)
    if thinks and protocol is not Messages:
        assert 0 < first.n_thoughts <= 2 * BUDGET + MOST_OPENING
    session.give_result()
    second = session.turn(calls=False)
    session.ask()
    third = session.turn(calls=False)
    assert not second.calls
    assert not third.calls
    for turn in (second, third):
        assert turn.n_cached >= first.n_prompt - MOST_OPENING


def test_the_history_is_what_the_template_wants(served: Served) -> None:
    model = served.model
    session, first = served.thinking_session(ChatCompletions)
    assert isinstance(session, ChatCompletions)
    arguments = check_call(first)
    session.give_result()
    thoughts = {model.thought.format(text) for text in (first.thoughts, first.thoughts.strip())}
    call, result = model.call.format(**arguments), model.result
    prompt = rendered(session, served.server)
    assert any(thought + call in prompt for thought in thoughts), prompt
    assert prompt.index(call) < prompt.index(result)
    session.turn(calls=False)
    session.ask()
    later = rendered(session, served.server)
    assert not any(thought in later for thought in thoughts)
    assert later.index(call) < later.index(result) < later.index("And tomorrow?")


def test_a_form_is_the_contents(served: Served) -> None:
    body = {
        "model": served.name,
        "messages": [{"role": "user", "content": "Where?"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": PARAMETERS}},
        "thinking_budget_tokens": BUDGET,
        "max_tokens": 300,
        "seed": 3,
    }
    choice = post(served.server, "/v1/chat/completions", body)["choices"][0]
    assert choice["finish_reason"] == "stop"
    jsonschema.validate(json.loads(choice["message"]["content"]), PARAMETERS)
