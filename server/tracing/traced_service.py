"""`TracedService`: a model service with a span for each request to a model.

Its parts are spans, too. Prompts and answers are in none.
"""

from __future__ import annotations

import asyncio
import time

import msgspec
from opentelemetry.trace import (
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    TracerProvider,
    set_span_in_context,
)

from models.errors import ModelNotFound
from models.version import VERSION
from server.engine.events import ChoiceEnd, Delta, Event, Failure, Finish, Vectors
from server.ipc.messages import Generate, Work
from server.ipc.prompts import ChatPrompt
from server.metrics.origin import current_origin
from server.supervisor.protocol import EventListener, EventSource, ModelService
from server.supervisor.service_layer import ServiceLayer
from server.tracing import attributes
from server.tracing.attributes import Attributes


class TracedService(ServiceLayer):
    """A `ModelService` around another one, whose requests are traced by `provider`."""

    def __init__(self, service: ModelService, provider: TracerProvider) -> None:
        super().__init__(service)
        self.provider = provider
        self._tracer = provider.get_tracer("corral", VERSION)

    def generate(self, name: str, request: Work) -> EventSource:
        return _TracedSource(super().generate(name, request), self, self._tracer, name, request)

    def model_attributes(self, name: str) -> Attributes:
        """Return what is known of the model that a request names."""
        try:
            status = self.find(name)
        except ModelNotFound:
            return {}
        return attributes.of_model(status)


class _TracedSource:
    """An `EventSource` that has a span while it runs."""

    def __init__(
        self, source: EventSource, service: TracedService, tracer: Tracer, name: str, request: Work
    ) -> None:
        self._source = source
        self._service = service
        self._tracer = tracer
        self._name = name
        self._request = request

    async def subscribe(self, listener: EventListener) -> None:
        """Run the request, see `EventSource`."""
        operation, begun_ns = _operation_of(self._request), time.time_ns()
        span = self._tracer.start_span(
            f"{operation} {self._name}",
            kind=SpanKind.INTERNAL,
            attributes=attributes.of_request(operation, self._name, self._request),
            start_time=begun_ns,
        )
        if not span.is_recording():
            await self._source.subscribe(listener)
            return
        span.set_attributes(attributes.of_origin(current_origin()))
        span.set_attributes(self._service.model_attributes(self._name))
        course = _Course(listener, self._tracer, span, self._name, begun_ns)
        try:
            await self._source.subscribe(course)
        except asyncio.CancelledError:
            course.fail("cancelled")
            raise
        except Exception as error:  # noted and raised again
            course.fail(type(error).__name__)
            raise
        finally:
            span.end(course.now_ns())


def _operation_of(request: Work) -> str:
    """Return the name that OpenTelemetry's conventions have for it."""
    if not isinstance(request, Generate):
        return attributes.EMBEDDINGS
    prompt: object = request.prompt
    if isinstance(prompt, msgspec.Raw):
        is_chat = msgspec.msgpack.decode(prompt, type=_Tagged).type == ChatPrompt.__struct_config__.tag
    else:
        is_chat = isinstance(prompt, ChatPrompt)
    return attributes.CHAT if is_chat else attributes.TEXT


class _Tagged(msgspec.Struct):
    """The kind of an encoded prompt; the rest of it is skipped."""

    type: str


class _Course:
    """An `EventListener` that notes when things happen, on their way to the next."""

    def __init__(self, listener: EventListener, tracer: Tracer, span: Span, name: str, begun_ns: int) -> None:
        self._listener = listener
        self._on_event = listener.on_event
        self._tracer = tracer
        self._span = span
        self._name = name
        self._origin = current_origin()
        self._begun_ns, self._begun_mono_ns = begun_ns, time.monotonic_ns()
        self._first_ns: int | None = None
        self._reasons: dict[int, str] = {}
        self._is_over = self._has_failed = False

    def on_event(self, event: Event) -> None:
        if isinstance(event, Delta):
            if self._first_ns is None and event.n_tokens:
                self._first_ns = self.now_ns()
                self._span.set_attribute(attributes.FIRST_CHUNK, (self._first_ns - self._begun_ns) / 1e9)
            self._on_event(event)
            return
        if isinstance(event, Failure):  # the listener may raise it
            self.fail(event.code or event.kind)
        self._on_event(event)
        self._note(event)

    async def drained(self) -> None:
        await self._listener.drained()

    def now_ns(self) -> int:
        """Return the time: that of the beginning, and the seconds that no clock was set in since."""
        return self._begun_ns + time.monotonic_ns() - self._begun_mono_ns

    def fail(self, error_type: str) -> None:
        """The request ends without its last event, or with an error after it."""
        if self._has_failed:
            return
        if self._first_ns is not None and not self._is_over:
            self._part("decode", self._first_ns, self.now_ns())
        self._has_failed = True
        self._span.set_attribute(attributes.ERROR, error_type)
        self._span.set_status(Status(StatusCode.ERROR))

    # --- inside ---

    def _note(self, event: Event) -> None:
        if isinstance(event, ChoiceEnd):  # the listener has found out what the answer was
            called = event.index in self._origin.called
            self._reasons[event.index] = "tool_calls" if called else event.finish_reason
        elif isinstance(event, Vectors):
            if event.meaning not in ("vector", "rows"):
                self._span.update_name(f"{attributes.RERANK} {self._name}")
                self._span.set_attribute(attributes.OPERATION, attributes.RERANK)
        elif isinstance(event, Finish):
            self._finish(event)

    def _finish(self, event: Finish) -> None:
        """Tell the usage, and the parts: the last token of the prompt gives the first one of the answer."""
        self._is_over = True
        end_ns, timings = self.now_ns(), event.timings
        if self._reasons:
            reasons = [reason for _, reason in sorted(self._reasons.items())]
            self._span.set_attribute(attributes.FINISH_REASONS, reasons)
        self._span.set_attributes(attributes.of_usage(event.usage))
        first_ns = self._first_ns
        if first_ns is None:
            first_ns = max(self._begun_ns, end_ns - int(1e6 * timings.predicted_ms))
        begin_ns = max(self._begun_ns, first_ns - int(1e6 * timings.prompt_ms))
        self._part("queue", self._begun_ns, begin_ns)
        self._part("prefill", begin_ns, first_ns, attributes.of_prefill(event))
        if event.usage.completion_tokens:
            self._part("decode", first_ns, end_ns, attributes.of_decode(event))

    def _part(self, name: str, begin_ns: int, end_ns: int, told: Attributes | None = None) -> None:
        context = set_span_in_context(self._span)
        part = self._tracer.start_span(name, context, attributes=told, start_time=begin_ns)
        part.end(end_ns)
