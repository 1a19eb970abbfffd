"""The `presets` of a settings file as their writer has them, typed and checked.

Unknown keys are errors. What the parameters are and what the models are is checked by others: `read`, `book`.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from server.presets.table import SystemMode

MAX_PRESETS = 1_000
MAX_ARMS = 100
MAX_SYSTEM_CHARS = 262_144
"""A system prompt has at most this many characters."""

_CONFIG = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

Name = Annotated[str, Field(min_length=1, max_length=512)]
Parameters = dict[str, JsonValue]
Scale = Annotated[float, Field(ge=-100, le=100)]


class LayerSection(BaseModel):
    """The fields that a preset and an arm have in common."""

    model_config = _CONFIG

    force: Parameters = Field(default={}, description="Parameters of every request, whatever it says.")
    default: Parameters = Field(default={}, description="Parameters of requests that leave them out.")
    strip: tuple[str, ...] = Field(
        default=(), strict=False, description="Fields that are removed from requests."
    )
    system: Annotated[str, Field(min_length=1, max_length=MAX_SYSTEM_CHARS)] | None = None
    system_mode: SystemMode = "prepend"
    prompt_format: str | None = None
    keep_alive: str | float | None = None
    adapters: dict[Name, Scale] | None = Field(default=None, description="LoRA adapters and their scales.")

    @field_validator("force", "default")
    @classmethod
    def _small(cls, value: Parameters) -> Parameters:
        if not _has_small_numbers(value):
            raise ValueError("a whole number must have at most 64 bits")
        return value


class ArmSection(LayerSection):
    """One arm: a model, and its part of the requests."""

    name: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        default=None, description="The arm's name in figures; the model's by default."
    )
    model: Name
    weight: Annotated[float, Field(gt=0, le=1e9)] = 1.0


class PresetSection(LayerSection):
    """One preset: a model or arms, and what becomes of requests."""

    model: Name | None = None
    arms: Annotated[list[ArmSection], Field(min_length=1, max_length=MAX_ARMS)] | None = None
    sticky: bool = Field(default=True, description="False: each request draws its arm.")
    description: Annotated[str, Field(max_length=1_000)] = ""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        """Let a string stand for a preset that is only another name."""
        return {"model": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_of_both(self) -> PresetSection:
        if (self.model is None) == (self.arms is None):
            raise ValueError("give 'model', or 'arms' with a model each")
        if self.arms is not None:
            names = [arm.name or arm.model for arm in self.arms]
            if len(set(names)) < len(names):
                raise ValueError("two arms have the same name; give each a 'name' of its own")
        return self


def _has_small_numbers(value: JsonValue) -> bool:
    if isinstance(value, dict):
        return all(map(_has_small_numbers, value.values()))
    if isinstance(value, list):
        return all(map(_has_small_numbers, value))
    return not isinstance(value, int) or -(1 << 63) <= value < 1 << 64
