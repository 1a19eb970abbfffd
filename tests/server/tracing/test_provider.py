"""The SDK's set-up by its own variables, a collector that gets the spans, and one that is away."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest

pytest.importorskip("opentelemetry.sdk.trace", reason="OpenTelemetry's SDK is not installed")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from models.errors import ConfigError
from server.app import create_app
from server.config import ServerConfig
from server.tracing.provider import set_up_tracing
from server.tracing.traced_service import TracedService
from tests.server.http_client import CHAT
from tests.server.scripted_service import ScriptedService


class Collector(HTTPServer):
    """An OpenTelemetry collector of one request after another."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.paths: list[str] = []
        self.headers: list[str | None] = []
        self.received: list[Any] = []


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.append(self.path)
        self.server.headers.append(self.headers["x-tenant"])
        self.server.received.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Write nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SDK_DISABLED", "TRACES_EXPORTER", "SERVICE_NAME", "RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")  # spans are sent at the end alone
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


async def chat(service: TracedService) -> int:
    transport = httpx.ASGITransport(app=create_app(ServerConfig(), service))
    async with httpx.AsyncClient(transport=transport, base_url="http://corral") as client:
        return (await client.post("/v1/chat/completions", json=CHAT)).status_code


async def test_a_collector_gets_the_spans(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=home")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=attic")
    tracing = set_up_tracing()
    assert tracing is not None
    assert await chat(TracedService(ScriptedService(), tracing.provider)) == 200
    await tracing.stop(60.0)
    assert (collector.paths, collector.headers) == (["/v1/traces"], ["home"])
    (resource,) = collector.received[0].resource_spans
    told = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert (told["service.name"], told["deployment.environment.name"]) == ("corral", "attic")
    names = {span.name for scope in resource.scope_spans for span in scope.spans}
    assert names == {"POST /v1/chat/completions", "chat demo", "queue", "prefill", "decode"}


async def test_a_collector_that_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Answers come, the end doesn't wait for longer than it may, and the log says it."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    tracing = set_up_tracing()
    assert tracing is not None
    assert await chat(TracedService(ScriptedService(), tracing.provider)) == 200
    await tracing.stop(0.0)
    assert "the last spans could not be sent within" in caplog.text
    for thread in threading.enumerate():
        if thread.name == "end of tracing":
            thread.join()


@pytest.mark.parametrize(("name", "value"), [("SDK_DISABLED", "true"), ("TRACES_EXPORTER", "none")])
def test_switched_off(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"OTEL_{name}", value)
    assert set_up_tracing() is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TRACES_EXPORTER", "smoke", "no package is installed that exports spans by 'smoke'"),
        ("EXPORTER_OTLP_PROTOCOL", "carrier-pigeon", "bad value for OTEL_EXPORTER_OTLP_PROTOCOL"),
        ("EXPORTER_OTLP_ENDPOINT", "collector:4318", "bad value for OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("BSP_MAX_QUEUE_SIZE", "-1", "bad value of an OTEL_… variable: max_queue_size"),
    ],
)
def test_bad_values(name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"OTEL_{name}", value)
    with pytest.raises(ConfigError, match=message):
        set_up_tracing()


def test_a_missing_sdk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match=r"pip install 'corral\[tracing\]'"):
        set_up_tracing()


def test_names_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "kitchen")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    tracing = set_up_tracing()
    assert tracing is not None
    assert tracing.provider.resource.attributes["service.name"] == "kitchen"  # type: ignore[attr-defined]
    tracing.shut_down()


def test_without_tracing_the_sdk_stays_away() -> None:
    code = """
import sys
import server.serve
from server.app import create_app
from server.config import ServerConfig
from tests.server.scripted_service import ScriptedService

create_app(ServerConfig(), ScriptedService())
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
