"""`Tracing`: OpenTelemetry's SDK, set up as its own `OTEL_…` variables say.

It is imported only where tracing is on, as the SDK is an optional extra. Spans are sent by a thread of the
SDK, from a queue that is bounded: a collector that is away costs spans, and no answer waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.trace import TracerProvider

from models.errors import ConfigError
from models.version import VERSION

logger = logging.getLogger("corral.tracing")

STOP_S = 3.0
"""The last spans have so many seconds to leave when the server ends."""
QUIET_S = 60.0
"""A collector that is away has one line in the log in so many seconds."""
_GROUP = "opentelemetry_traces_exporter"
_OTLP = {"http/protobuf": "otlp_proto_http", "http/json": "otlp_json_http", "grpc": "otlp_proto_grpc"}
"""The names by which packages register what sends OTLP, by the protocol's name."""


@dataclass(frozen=True, slots=True)
class Tracing:
    """The way of spans: `provider` makes them."""

    provider: TracerProvider
    shut_down: Callable[[], None]
    """Sends what is left, and ends; it may take long."""

    async def stop(self, timeout_s: float = STOP_S) -> None:
        """Send what is left, as far as it is possible within the time."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def run() -> None:
            self.shut_down()
            try:
                loop.call_soon_threadsafe(done.set)
            except RuntimeError:
                logger.debug("the last spans left after the server's end")

        threading.Thread(target=run, name="end of tracing", daemon=True).start()
        try:
            await asyncio.wait_for(done.wait(), timeout_s)
        except TimeoutError:
            logger.warning("the last spans could not be sent within %.0f s", timeout_s)


def set_up_tracing() -> Tracing | None:
    """Return what the variables ask for; None where they switch it off.

    Raises ConfigError where the SDK or an exporter isn't installed, and for a variable that makes no sense.
    """
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        logger.info("no spans are sent: OTEL_SDK_DISABLED is true")
        return None
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider as Provider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(
            f"tracing needs OpenTelemetry's SDK, which isn't here ({error}): pip install 'corral[tracing]'"
        ) from error
    names = [name.strip() for name in os.environ.get("OTEL_TRACES_EXPORTER", "").split(",") if name.strip()]
    names = names or ["otlp"]
    if names == ["none"]:
        logger.info("no spans are sent: OTEL_TRACES_EXPORTER is none")
        return None
    try:
        provider = Provider(resource=Resource.create(_service()), shutdown_on_exit=False)
        for name in names:
            exporter = _exporter_class(name)()
            logging.getLogger(type(exporter).__module__).addFilter(_Seldom())
            provider.add_span_processor(BatchSpanProcessor(exporter))
    except ValueError as error:
        raise ConfigError(f"bad value of an OTEL_… variable: {error}") from error
    logger.info("spans are sent by %s", ", ".join(names))
    return Tracing(provider, provider.shutdown)


def _service() -> dict[str, str]:
    """Return the service's name and version, unless the variables say them."""
    told = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    keys = {part.partition("=")[0].strip() for part in told.split(",")}
    if os.environ.get("OTEL_SERVICE_NAME"):
        keys.add("service.name")
    ours = {"service.name": "corral", "service.version": VERSION}
    return {name: value for name, value in ours.items() if name not in keys}


def _exporter_class(name: str) -> Callable[[], Any]:
    """Return what makes an exporter, of all those that are installed. Raises ConfigError."""
    wanted = name
    if name == "otlp":
        variable, protocol = _first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
        protocol = protocol or "http/protobuf"
        if protocol not in _OTLP:
            raise ConfigError(f"bad value for {variable}: it is one of {', '.join(_OTLP)}")
        wanted = _OTLP[protocol]
        if protocol != "grpc":
            _check_endpoint()
    found = list(entry_points(group=_GROUP, name=wanted))
    if not found:
        known = sorted(entry_points(group=_GROUP).names)
        raise ConfigError(
            f"no package is installed that exports spans by {wanted!r}, only {', '.join(known) or 'none'}:"
            " set OTEL_TRACES_EXPORTER or OTEL_EXPORTER_OTLP_PROTOCOL otherwise, or install it"
        )
    loaded: Callable[[], Any] = found[0].load()
    return loaded


def _check_endpoint() -> None:
    variable, endpoint = _first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    if endpoint and (urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).netloc):
        raise ConfigError(f"bad value for {variable}: it is a URL such as http://collector.example:4318")


def _first(*variables: str) -> tuple[str, str]:
    """Return the first variable that is set, and its value; the last one and nothing without any."""
    for variable in variables:
        if value := os.environ.get(variable, "").strip():
            return variable, value
    return variables[-1], ""


class _Seldom(logging.Filter):
    """Lets one line pass in `QUIET_S` seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._last_s = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - logging's signature
        now_s = time.monotonic()
        if now_s - self._last_s < QUIET_S:
            return False
        self._last_s = now_s
        return True
