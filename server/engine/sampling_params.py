"""SamplingParams: how one request's tokens are chosen and when they end, from HTTP to llama.cpp.

The annotations of its fields are the one table of their limits and of what -1 means. HTTP, files and native
code read it: `RANGES`.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple, get_type_hints

import msgspec

from models.errors import RequestError

_MAX_LAST_N = 1 << 20
"""llama.cpp keeps the recent tokens in a buffer; this is the largest in tokens that a request may have."""
MAX_BREAKERS = 64
"""The most sequence breakers of a request."""
_MAX_BREAKER_BYTES = 40
"""llama.cpp cuts longer sequence breakers; this is the limit in bytes of UTF-8."""


class Range(NamedTuple):
    """The least and the greatest value of a parameter, and the meaning of a client's -1.

    `minus_one` is "off" where -1 becomes 0, "open" where it is as good as not given, "all" where it is a
    value of its own: as far as the context goes. `is_bound` is true of limits that a client may set as high
    as it likes: more than `greatest` is the same as `greatest`.
    """

    least: float
    greatest: float
    minus_one: Literal["off", "open", "all"] | None = None
    is_bound: bool = False


_Probability = Range(0.0, 1.0)
_NotNegative = Range(0.0, 10_000.0)
_Penalty = Range(-2.0, 2.0)
_Count = Range(0, 2**31 - 1)
_LookBack = Range(-1, _MAX_LAST_N, "all", is_bound=True)


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Sampling and stopping of one request; names and defaults are llama.cpp's.

    Each sampler has one value that switches it off; `is_active` of its step (`server.worker.sampling.steps`)
    tells it. `temperature` 0 is greedy. `repeat_last_n` and `dry_penalty_last_n` of -1 are the whole context.
    `logit_bias` has token ids and biases that are added to their logits (-inf bans). `seed=None` draws one,
    `max_tokens=None` runs to the context's end, and so does one that reaches beyond it.

    The values may come from a client or a model's file: `check` comes before native code.
    """

    temperature: Annotated[float, _NotNegative] = 0.8
    dynatemp_range: Annotated[float, _NotNegative] = 0.0
    dynatemp_exponent: Annotated[float, _NotNegative] = 1.0
    top_k: Annotated[int, Range(0, 2**31 - 1, "off")] = 40
    top_p: Annotated[float, _Probability] = 0.95
    min_p: Annotated[float, _Probability] = 0.05
    typical_p: Annotated[float, _Probability] = 1.0
    top_n_sigma: Annotated[float, Range(0.0, 10_000.0, "off")] = 0.0
    xtc_probability: Annotated[float, _Probability] = 0.0
    xtc_threshold: Annotated[float, _Probability] = 0.1
    dry_multiplier: Annotated[float, _NotNegative] = 0.0
    dry_base: Annotated[float, Range(1.0, 10_000.0)] = 1.75
    dry_allowed_length: Annotated[int, _Count] = 2
    dry_penalty_last_n: Annotated[int, _LookBack] = -1
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    repeat_penalty: Annotated[float, Range(1e-6, 10_000.0)] = 1.0
    repeat_last_n: Annotated[int, _LookBack] = 64
    presence_penalty: Annotated[float, _Penalty] = 0.0
    frequency_penalty: Annotated[float, _Penalty] = 0.0
    mirostat: Annotated[int, Range(0, 2)] = 0
    mirostat_tau: Annotated[float, _NotNegative] = 5.0
    mirostat_eta: Annotated[float, _NotNegative] = 0.1
    seed: Annotated[int | None, Range(0, 2**64 - 1)] = None
    logit_bias: tuple[tuple[int, float], ...] = ()

    max_tokens: Annotated[int | None, Range(0, 2**31 - 1, "open", is_bound=True)] = None
    min_tokens: Annotated[int, _Count] = 0
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False

    def check(self, n_vocab: int) -> None:
        """Raise RequestError with `param` set at the first value that llama.cpp would misbehave on."""
        for name, (least, greatest, *_) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= greatest:  # refuses NaN too
                raise RequestError(f"{name} is {value}; it must be between {least:g} and {greatest:g}", name)
        self._check_breakers()
        for token, bias in self.logit_bias:
            if not 0 <= token < n_vocab:
                raise RequestError(
                    f"logit_bias names token {token}; this model's tokens are 0 to {n_vocab - 1}",
                    "logit_bias",
                )
            if math.isnan(bias) or bias == math.inf:
                raise RequestError(f"logit_bias of token {token} is {bias}; give a number", "logit_bias")

    def _check_breakers(self) -> None:
        name = "dry_sequence_breakers"
        if len(self.dry_sequence_breakers) > MAX_BREAKERS:
            raise RequestError(
                f"{name} has {len(self.dry_sequence_breakers)} entries; at most {MAX_BREAKERS}", name
            )
        for text in self.dry_sequence_breakers:
            try:
                size = len(text.encode())
            except UnicodeEncodeError:
                raise RequestError(f"{name} holds text that isn't valid Unicode; remove it", name) from None
            if not 0 < size <= _MAX_BREAKER_BYTES or "\0" in text:
                raise RequestError(
                    f"{name} entries have 1 to {_MAX_BREAKER_BYTES} bytes and no NUL, not {text!r:.60}", name
                )


RANGES: dict[str, Range] = {
    name: each
    for name, hint in get_type_hints(SamplingParams, include_extras=True).items()
    for each in getattr(hint, "__metadata__", ())
    if isinstance(each, Range)
}
"""The ranges of the fields of `SamplingParams`, by the field's name."""
