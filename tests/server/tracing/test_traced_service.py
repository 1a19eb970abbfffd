"""Spans of requests, as an in-memory exporter gets them from the application over a scripted service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("opentelemetry.sdk.trace", reason="OpenTelemetry's SDK is not installed")

import opentelemetry.semconv._incubating.attributes.gen_ai_attributes as conventions
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from models.errors import WorkerBusy
from server.app import create_app
from server.config import ServerConfig
from server.engine.events import AnswerForm, Failure
from server.ipc.messages import Generate
from server.tracing import attributes
from server.tracing.traced_service import TracedService
from tests.server.http_client import CHAT, TEXT, events_of
from tests.server.scripted_service import ScriptedService, Step, pools, says

TRACE_ID, PARENT_ID = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
TRACEPARENT = f"00-{TRACE_ID:032x}-{PARENT_ID:016x}-01"


class Traced:
    """An application whose spans are kept."""

    def __init__(self, service: ScriptedService | None = None) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.service = service or ScriptedService()
        self.app = create_app(ServerConfig(), TracedService(self.service, provider))

    def client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://corral")

    async def post(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        async with self.client() as client:
            return await client.post(path, json=body, headers=headers)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    def only(self, name: str) -> ReadableSpan:
        (span,) = [span for span in self.spans if span.name == name]
        return span


def told(span: ReadableSpan) -> dict[str, Any]:
    assert span.attributes is not None
    return dict(span.attributes)


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


async def test_a_chat_continues_its_clients_trace() -> None:
    traced = Traced()
    body = {**CHAT, "temperature": 0.5, "max_tokens": 9, "stop": ["secret"]}
    answer = await traced.post(
        "/v1/chat/completions", body, traceparent=TRACEPARENT, **{"x-request-id": "mine"}
    )
    assert answer.status_code == 200
    names = [span.name for span in traced.spans]
    assert sorted(names) == ["POST /v1/chat/completions", "chat demo", "decode", "prefill", "queue"]
    server, chat = traced.only("POST /v1/chat/completions"), traced.only("chat demo")
    assert (server.kind, parent_of(server)) == (SpanKind.SERVER, PARENT_ID)
    assert server.context is not None
    assert chat.context is not None
    assert (chat.kind, parent_of(chat)) == (SpanKind.INTERNAL, server.context.span_id)
    assert {span.context.trace_id for span in traced.spans if span.context} == {TRACE_ID}
    assert told(server)["http.response.status_code"] == 200
    assert told(chat) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "corral",
        "gen_ai.request.model": "demo",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.response.id": answer.json()["id"],
        "gen_ai.response.model": "demo",
        "gen_ai.response.time_to_first_chunk": told(chat)["gen_ai.response.time_to_first_chunk"],
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 2,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "gen_ai.usage.reasoning.output_tokens": 0,
        "corral.model.type": "Q4_K_M",
        "corral.model.state": "ready",
        "corral.request.id": "mine",
    }
    assert chat.status.status_code is StatusCode.UNSET
    queue, prefill, decode = (traced.only(name) for name in ("queue", "prefill", "decode"))
    assert {parent_of(part) for part in (queue, prefill, decode)} == {chat.context.span_id}
    assert chat.start_time == queue.start_time
    assert queue.end_time == prefill.start_time
    assert prefill.end_time == decode.start_time
    assert decode.end_time is not None
    assert chat.end_time is not None
    assert decode.end_time <= chat.end_time
    assert (told(prefill), told(decode)["corral.generated_tokens"]) == (
        {"corral.computed_tokens": 4, "corral.cached_tokens": 3},
        2,
    )
    assert not any("secret" in str(told(span)) for span in traced.spans)


async def test_a_stream_of_two_choices_with_a_call() -> None:
    form = AnswerForm(tool_format="hermes")
    call = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    traced = Traced(ScriptedService(says(call, form=form)))
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    body = {**CHAT, "n": 2, "stream": True, "tools": [tool]}
    answer = await traced.post("/v1/chat/completions", body)
    assert events_of(answer.text)[-1] == "[DONE]"
    chat = told(traced.only("chat demo"))
    assert chat["gen_ai.request.choice.count"] == 2
    assert chat["gen_ai.response.finish_reasons"] == ("tool_calls", "tool_calls")


async def test_each_prompt_of_a_request_is_a_request_to_the_model() -> None:
    traced = Traced()
    await traced.post("/v1/completions", {**TEXT, "prompt": ["a", "b"]})
    server = traced.only("POST /v1/completions")
    texts = [span for span in traced.spans if span.name == "text_completion demo"]
    assert server.context is not None
    assert [parent_of(span) for span in texts] == [server.context.span_id] * 2


@pytest.mark.parametrize(
    ("path", "body", "name", "meaning"),
    [
        ("/v1/embeddings", {"model": "demo", "input": ["a", "b"]}, "embeddings demo", "vector"),
        ("/v1/rerank", {"model": "demo", "query": "a", "documents": ["b"]}, "rerank demo", "logit"),
    ],
)
async def test_vectors_and_ranks(path: str, body: dict[str, Any], name: str, meaning: Any) -> None:
    service = ScriptedService()
    service.pool_script = pools((0.5, 0.5) if meaning == "vector" else (0.5,), meaning=meaning)
    traced = Traced(service)
    answer = await traced.post(path, body)
    assert answer.status_code == 200
    span = told(traced.only(name))
    assert span["gen_ai.operation.name"] == name.partition(" ")[0]
    assert span["gen_ai.usage.input_tokens"] == 7
    assert "decode" not in [each.name for each in traced.spans]


def fails(request: Generate) -> list[Step]:
    failure = Failure(id=request.id, kind="server_error", message="secret", code="worker_died")
    return [*says("so")(request)[:2], failure]


def refuses(request: Generate) -> list[Step]:
    return [WorkerBusy("full", retry_after_s=1.0)]


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize(("script", "error"), [(fails, "worker_died"), (refuses, "WorkerBusy")])
async def test_failures(script: Any, error: str, streams: bool) -> None:
    traced = Traced(ScriptedService(script))
    await traced.post("/v1/chat/completions", {**CHAT, "stream": streams})
    chat = traced.only("chat demo")
    assert told(chat)["error.type"] == error
    assert chat.status.status_code is StatusCode.ERROR
    assert not any("secret" in str(told(span)) for span in traced.spans)
    assert ("decode" in [each.name for each in traced.spans]) == (script is fails)


async def test_a_client_that_goes() -> None:
    halt = asyncio.Event()
    service = ScriptedService(lambda request: [*says("so")(request)[:2], halt])
    traced = Traced(service)
    asked = asyncio.create_task(traced.post("/v1/chat/completions", CHAT))
    await service.reached(1)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert told(traced.only("chat demo"))["error.type"] == "cancelled"


async def test_what_is_refused_has_the_requests_own_span() -> None:
    traced = Traced()
    await traced.post("/v1/chat/completions", {**CHAT, "temperature": -1}, traceparent=TRACEPARENT)
    (span,) = traced.spans
    assert (parent_of(span), told(span)["http.response.status_code"]) == (PARENT_ID, 400)


async def test_a_trace_that_is_not_sampled_has_no_spans() -> None:
    traced = Traced()
    answer = await traced.post("/v1/chat/completions", CHAT, traceparent=TRACEPARENT[:-1] + "0")
    assert answer.status_code == 200
    assert not traced.spans


async def test_looking_at_the_server_is_not_traced() -> None:
    traced = Traced()
    async with traced.client() as client:
        for path in ("/health", "/v1/models", "/metrics", "/web/none?q=secret"):
            await client.get(path)
    assert not traced.spans


def test_the_names_are_the_conventions_own() -> None:
    """The package marks names that others have replaced; those that only moved elsewhere are current."""
    source = Path(conventions.__file__).read_text()
    ours = [value for value in vars(attributes).values() if isinstance(value, str) and "gen_ai." in value]
    ours = [name for name in (*ours, *attributes.PARAMETERS.values()) if name.startswith("gen_ai.")]
    assert len(ours) == 20
    for name in ours:
        _, found, after = source.partition(f'"{name}"\n"""\n')
        assert found, name
        assert not after.startswith("Deprecated: Replaced"), name
    assert '"gen_ai.system"\n"""\nDeprecated: Replaced' in source
