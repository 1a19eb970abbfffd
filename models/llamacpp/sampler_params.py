"""What a sampler chain is built from: llama.cpp's parameters and defaults, checked before it sees them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.errors import RequestError

_MAX_LAST_N = 1 << 20  # the recent tokens are kept in a buffer of this size
_MAX_BREAKERS = 64
_MAX_BREAKER_BYTES = 40  # llama.cpp cuts longer ones


@dataclass(frozen=True)
class SamplerParams:
    """Names as in a request; defaults are llama.cpp's. Which value switches a sampler off:

    top_k 0 or less, top_p 1, min_p 0, typical_p 1, top_n_sigma 0 or less, xtc_probability 0,
    dynatemp_range 0, repeat_penalty 1, presence_penalty 0, frequency_penalty 0, repeat_last_n 0,
    dry_multiplier 0, mirostat 0. `temperature` 0 or less: greedy. `seed` None: random. `logit_bias`:
    (token, bias) pairs; a bias of -inf forbids. `min_keep`: tokens that a truncation must leave.
    """

    temperature: float = 0.8
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    top_n_sigma: float = -1.0
    min_keep: int = 0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = 64
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    seed: int | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()

    @property
    def has_penalties(self) -> bool:
        return self.repeat_last_n > 0 and (
            self.repeat_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0
        )

    @property
    def has_dry(self) -> bool:
        return self.dry_multiplier != 0 and self.dry_base >= 1 and self.dry_penalty_last_n > 0

    @property
    def needs_prompt(self) -> bool:
        """True if the prompt's last tokens must be accepted first: penalties and DRY count them."""
        return not self.mirostat and (self.has_penalties or self.has_dry)

    @property
    def is_argmax(self) -> bool:
        """True if the token picked is the argmax of the row: no chain is needed."""
        return self.temperature <= 0 and not (self.logit_bias or self.mirostat or self.needs_prompt)

    def check(self, n_vocab: int) -> None:
        """Raise RequestError with `param` set at the first value that llama.cpp would misbehave on."""
        for name, low, high in _FLOATS:
            value = getattr(self, name)
            if not low <= value <= high:  # refuses NaN too
                raise _out_of_range(name, value, low, high)
        for name, low_int, high_int in _INTEGERS:
            value = getattr(self, name)
            if not low_int <= value <= high_int:
                raise _out_of_range(name, value, low_int, high_int)
        if self.seed is not None and not 0 <= self.seed < 2**64:
            raise _out_of_range("seed", self.seed, 0, 2**64 - 1)
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
        if len(self.dry_sequence_breakers) > _MAX_BREAKERS:
            raise RequestError(
                f"{name} has {len(self.dry_sequence_breakers)} entries; at most {_MAX_BREAKERS}", name
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


_FLOATS = (
    ("temperature", -1e6, 1e6),
    ("dynatemp_range", 0.0, 1e6),
    ("dynatemp_exponent", 0.0, 1e6),
    ("top_p", 0.0, 1.0),
    ("min_p", 0.0, 1.0),
    ("typical_p", 0.0, 1.0),
    ("top_n_sigma", -1e6, 1e6),
    ("xtc_probability", 0.0, 1.0),
    ("xtc_threshold", 0.0, 1.0),
    ("repeat_penalty", 1e-6, 1e6),
    ("presence_penalty", -1e6, 1e6),
    ("frequency_penalty", -1e6, 1e6),
    ("dry_multiplier", 0.0, 1e6),
    ("dry_base", 0.0, 1e6),
    ("mirostat_tau", 0.0, 1e6),
    ("mirostat_eta", 0.0, 1e6),
)

_INTEGERS = (
    ("top_k", -(2**31), 2**31 - 1),
    ("min_keep", 0, 2**31 - 1),
    ("repeat_last_n", 0, _MAX_LAST_N),
    ("dry_allowed_length", 0, 2**31 - 1),
    ("dry_penalty_last_n", 0, _MAX_LAST_N),
    ("mirostat", 0, 2),
)


def _out_of_range(name: str, value: float, low: float, high: float) -> RequestError:
    return RequestError(f"{name} is {value}; it must be between {low:g} and {high:g}", name)
