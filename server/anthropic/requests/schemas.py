"""Bodies of Anthropic's Messages API as clients send them, typed and checked.

Field names are the wire's, and `None` means "not given", as in `server.openai.requests.schemas`. Messages and
tools are checked where they are converted (`history`, `tools`), which names the part that is wrong. Unknown
fields are kept in `model_extra` and only warned about.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from server.engine.sampling_params import RANGES
from server.openai.requests.field_types import KeepAlive, Stop
from server.openai.requests.schemas import SamplingRequest, ThinkingRequest

Part = dict[str, JsonValue]
Parts = Annotated[list[Part], Field(fail_fast=True)]

_INNER = ConfigDict(strict=True, extra="allow", frozen=True)


def _bounded(value: int) -> int:
    return int(min(value, RANGES["max_tokens"][1]))


class InputMessage(BaseModel):
    """One message. Claude Code also sends such of the role `system`."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    role: Literal["user", "assistant", "system"]
    content: str | Parts


class ThinkingConfig(BaseModel):
    model_config = _INNER

    type: Literal["enabled", "adaptive", "disabled", "between_tools"]
    budget_tokens: Annotated[int, Field(ge=0)] | None = None
    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(BaseModel):
    model_config = _INNER

    type: Literal["json_schema"]
    json_schema: dict[str, JsonValue] = Field(alias="schema")


class OutputConfig(BaseModel):
    model_config = _INNER

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class ChoiceConfig(BaseModel):
    """The choice of a tool."""

    model_config = _INNER

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class CountTokensRequest(ThinkingRequest):
    """`POST /v1/messages/count_tokens`: all that makes the prompt."""

    model: str | None = Field(default=None, max_length=512)
    messages: Annotated[list[InputMessage], Field(min_length=1, fail_fast=True)]
    system: str | Parts | None = None
    tools: Parts | None = None
    tool_choice: ChoiceConfig | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = Field(
        default=None, description="The beta's name of `output_config.format`."
    )
    cache_control: dict[str, Any] | None = Field(
        default=None, description="Accepted anywhere: every prefix is cached anyway."
    )

    # As in chat completions, and stronger than Anthropic's fields; so are those of `ThinkingRequest`.
    prompt_format: str | None = Field(
        default=None, max_length=64, description="alpaca, vicuna, … or `template`."
    )
    reasoning_effort: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="Goes to the chat template; none: no thinking."
    )

    # Accepted, and without effect here.
    speed: JsonValue = None
    betas: JsonValue = None
    billing_policy: JsonValue = None
    user_profile_id: JsonValue = None
    workspace_id: JsonValue = None
    context_management: JsonValue = Field(default=None, description="Without effect, and logged.")

    # Known, and refused where they ask for something.
    mcp_servers: JsonValue = None
    container: JsonValue = None
    thread: JsonValue = None
    compaction: JsonValue = Field(default=None, description="A count takes it, without effect.")


class MessagesRequest(CountTokensRequest, SamplingRequest):
    """`POST /v1/messages`. The sampling parameters are ours, Anthropic's among them."""

    max_tokens: Annotated[int, Field(ge=1), AfterValidator(_bounded)] = Field(
        description="An upper bound; more than there is room for: to the context's end."
    )
    stop_sequences: Stop = ()
    keep_alive: KeepAlive = None

    # Accepted, and without effect here.
    metadata: dict[str, JsonValue] | None = None
    service_tier: str | None = None
    inference_geo: JsonValue = None
    fallbacks: JsonValue = None
    fallback_credit_token: JsonValue = None
    diagnostics: JsonValue = Field(default=None, description="Without effect, and logged.")
