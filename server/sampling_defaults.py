"""`SamplingDefaults`: the sampling parameters of requests that leave them open, as settings.

The limits of each are those of the field of `SamplingParams` with its name.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

from server.engine.sampling_params import RANGES
from server.setting import Bounds, setting

_MAX_SEED = (1 << 32) - 2


def within(name: str) -> Bounds:
    """Return the limits of a field of SamplingParams, with -1 where that is a word of its own."""
    least, greatest, minus_one, is_bound = RANGES[name]
    return Bounds(ge=least if minus_one is None else -1, le=None if is_bound else greatest)


@dataclass(frozen=True, kw_only=True)
class SamplingDefaults:
    """The parameters that a request leaves open; None: the model file's own, or llama.cpp's."""

    temperature: Annotated[float, within("temperature")] | None = setting(
        None, "Temperature of requests that name none; so it is with all sampling flags."
    )
    dynatemp_range: Annotated[float, within("dynatemp_range")] | None = setting(
        None, "Range around the temperature within which entropy moves it."
    )
    dynatemp_exponent: Annotated[float, within("dynatemp_exponent")] | None = setting(
        None, "Exponent of that move."
    )
    top_k: Annotated[int, within("top_k")] | None = setting(None, "Likeliest tokens to choose from; 0: all.")
    top_p: Annotated[float, within("top_p")] | None = setting(
        None, "Probability that the tokens to choose from have together; 1: all."
    )
    min_p: Annotated[float, within("min_p")] | None = setting(
        None, "Least probability of a token, as a part of the likeliest one's; 0: off."
    )
    typical_p: Annotated[float, within("typical_p")] | None = setting(
        None, "Locally typical sampling's probability; 1: off."
    )
    top_n_sigma: Annotated[float, within("top_n_sigma")] | None = setting(
        None, "Standard deviations below the best logit that stay; 0: off."
    )
    xtc_probability: Annotated[float, within("xtc_probability")] | None = setting(
        None, "Chance that the likeliest tokens are left out; 0: off."
    )
    xtc_threshold: Annotated[float, within("xtc_threshold")] | None = setting(
        None, "Least probability of a token that XTC leaves out."
    )
    dry_multiplier: Annotated[float, within("dry_multiplier")] | None = setting(
        None, "Multiplier of DRY's penalty on repeated sequences; 0: off."
    )
    dry_base: Annotated[float, within("dry_base")] | None = setting(None, "Base of DRY's penalty.")
    dry_allowed_length: Annotated[int, within("dry_allowed_length")] | None = setting(
        None, "Longest repetition that DRY leaves alone."
    )
    dry_penalty_last_n: Annotated[int, within("dry_penalty_last_n")] | None = setting(
        None, "Latest tokens that DRY looks at; -1: all."
    )
    dry_sequence_breakers: tuple[str, ...] = setting((), "Text at which DRY's sequences end.")
    repeat_penalty: Annotated[float, within("repeat_penalty")] | None = setting(
        None, "Penalty on repeated tokens; 1: off."
    )
    repeat_last_n: Annotated[int, within("repeat_last_n")] | None = setting(
        None, "Latest tokens that penalties look at; -1: all, 0: off."
    )
    presence_penalty: Annotated[float, within("presence_penalty")] | None = setting(
        None, "Penalty on tokens that were there; 0: off."
    )
    frequency_penalty: Annotated[float, within("frequency_penalty")] | None = setting(
        None, "Penalty on tokens for each time that they were there; 0: off."
    )
    mirostat: Annotated[int, within("mirostat")] | None = setting(None, "Mirostat's version, 1 or 2; 0: off.")
    mirostat_tau: Annotated[float, within("mirostat_tau")] | None = setting(None, "Mirostat's entropy.")
    mirostat_eta: Annotated[float, within("mirostat_eta")] | None = setting(None, "Mirostat's learning rate.")
    seed: Annotated[int, Bounds(ge=-1, le=_MAX_SEED)] | None = setting(
        None, "Seed of the random numbers; -1: another one for each request."
    )
    max_tokens: Annotated[int, within("max_tokens")] | None = setting(
        None, "Most tokens of an answer; -1: to the context's end."
    )
    ignore_eos: bool = setting(False, "Go on where the model would end.")

    @property
    def sampling(self) -> dict[str, Any]:
        """The fields of SamplingParams that are set, with -1 as these have it."""
        given: dict[str, Any] = {}
        for field in dataclasses.fields(SamplingDefaults):
            value = getattr(self, field.name)
            if value == field.default:
                continue
            minus_one = RANGES[field.name].minus_one if field.name in RANGES else None
            if value == -1 and (minus_one == "open" or field.name == "seed"):
                continue
            given[field.name] = 0 if value == -1 and minus_one == "off" else value
        return given
