"""OpenTelemetry spans of requests to models, an optional extra: their making, attributes and export.

attributes.py      The attributes of spans: OpenTelemetry's for generative models, and `corral.…` for what is
                   ours.
provider.py        `Tracing`: OpenTelemetry's SDK, set up as its own `OTEL_…` variables say.
traced_service.py  `TracedService`: a model service with a span for each request to a model.
"""
