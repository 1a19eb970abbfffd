"""`telemetry_of`: the spans that FastAPI makes of HTTP requests, where their work is traced."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from fastapi.telemetry import TelemetryConfig

from server.supervisor.protocol import ModelService
from server.tracing.traced_service import TracedService


def telemetry_of(service: ModelService) -> TelemetryConfig:
    """Return FastAPI's settings: all is off but the spans of those requests that may ask a model.

    What FastAPI would send in addition has texts of clients, or is in `/metrics` already.
    """
    off = TelemetryConfig(
        tracing=False, metrics=False, logs=False, operation_spans=False, auto_configure=False
    )
    if not isinstance(service, TracedService):
        return off
    return {**off, "tracing": True, "tracer_provider": service.provider, "exclude": _asks_no_model}


def _asks_no_model(scope: MutableMapping[str, Any]) -> bool:
    return scope.get("method") != "POST"
