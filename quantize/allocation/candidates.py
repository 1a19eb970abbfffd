"""Which types a tensor may get, and how many bytes each takes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models.llamacpp.quantization.ggml_types import GGML_TYPES, blck_size, tensor_size
from quantize.gguf.header import aligned

ANY_TIME: Final = ("Q3_K", "IQ4_XS", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
"""Types of 3.4 to 8.5 bits, encoded quickly and computed with quickly."""

WITH_IMATRIX: Final = ("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S")
"""Types of 2.1 to 3.4 bits: they need an importance matrix, or profit much, and are slow to encode."""

NARROW_ROWS: Final = ("IQ4_NL", "Q5_0", "Q5_1", "Q8_0")
"""For rows that blocks of 256 don't divide."""

SIXTEEN_BITS: Final = "F16"


@dataclass(frozen=True)
class Candidate:
    """A type for one tensor; `n_bytes` as it takes them in a file."""

    ggml_type: int
    n_bytes: int


def candidates(ne: Sequence[int], *, has_weights: bool, small: bool) -> tuple[Candidate, ...]:
    """Of a tensor of the shape `ne`, from few bytes to many. `small`: the size asked for is under 4 bits.

    `has_weights`: its importance is known.
    """
    if ne[0] % 256 == 0:
        names = (*(WITH_IMATRIX if has_weights and small else ()), *ANY_TIME, SIXTEEN_BITS)
    elif ne[0] % 32 == 0:
        names = (*NARROW_ROWS, SIXTEEN_BITS)
    else:
        names = (SIXTEEN_BITS,)
    numbers = [GGML_TYPES[name] for name in names if ne[0] % blck_size(GGML_TYPES[name]) == 0]
    found = [Candidate(number, aligned(tensor_size(number, ne))) for number in numbers]
    return tuple(sorted(found, key=lambda candidate: candidate.n_bytes))
