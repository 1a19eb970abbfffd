"""The attributes of spans: OpenTelemetry's for generative models, and `corral.…` for what is ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from server.engine.events import Finish, Usage
from server.ipc.messages import Generate, Work
from server.metrics.origin import Origin
from server.supervisor.protocol import ModelStatus

Attributes = Mapping[str, str | int | float | Sequence[str]]

CHAT, TEXT, EMBEDDINGS = "chat", "text_completion", "embeddings"
"""Values of `OPERATION`, the conventions' own."""
RERANK = "rerank"
"""The conventions have no name for it."""

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
CHOICES = "gen_ai.request.choice.count"
DIMENSIONS = "gen_ai.embeddings.dimension.count"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
ERROR = "error.type"

PARAMETERS = {
    name: f"gen_ai.request.{name}"
    for name in (
        "max_tokens",
        "temperature",
        "top_k",
        "top_p",
        "frequency_penalty",
        "presence_penalty",
        "seed",
    )
}
"""The attributes of sampling parameters, by their names here. Stop strings are texts, and left out."""


def of_request(operation: str, model: str, request: Work) -> Attributes:
    """Return what is known of a request before it runs: what its client has given of the parameters."""
    told: dict[str, str | int | float] = {
        OPERATION: operation,
        PROVIDER: "corral",
        REQUEST_MODEL: model,
        RESPONSE_ID: request.id,
    }
    if not isinstance(request, Generate):
        if request.dimensions is not None:
            told[DIMENSIONS] = request.dimensions
        return told
    if request.n != 1:
        told[CHOICES] = request.n
    for name, attribute in PARAMETERS.items():
        value = getattr(request.params, name)
        if value is not None and (name in request.given or name == "max_tokens"):
            told[attribute] = value
    return told


def of_origin(origin: Origin) -> Attributes:
    """Return what is known of the HTTP request: the id that the log has it by, and its arm."""
    told = {"corral.request.id": origin.request_id, "corral.arm": origin.arm or None}
    return {name: value for name, value in told.items() if value is not None}


def of_model(status: ModelStatus) -> Attributes:
    """Return what is known of the model: one that isn't `ready` has yet to be loaded."""
    told = {
        RESPONSE_MODEL: status.name,
        "corral.model.type": status.type,
        "corral.model.state": status.state,
    }
    return {name: value for name, value in told.items() if value is not None}


def of_usage(usage: Usage) -> Attributes:
    """Return the tokens of a request."""
    return {
        INPUT_TOKENS: usage.prompt_tokens,
        OUTPUT_TOKENS: usage.completion_tokens,
        CACHED_TOKENS: usage.cached_tokens,
        REASONING_TOKENS: usage.reasoning_tokens,
    }


def of_prefill(event: Finish) -> Attributes:
    """Return how much of the prompt was computed."""
    return {
        "corral.computed_tokens": event.timings.prompt_n,
        "corral.cached_tokens": event.usage.cached_tokens,
    }


def of_decode(event: Finish) -> Attributes:
    """Return what was generated, and guessed."""
    return {
        "corral.generated_tokens": event.timings.predicted_n,
        "corral.draft_tokens": event.timings.draft_n,
        "corral.accepted_tokens": event.timings.draft_n_accepted,
    }
