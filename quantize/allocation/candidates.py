"""The candidates of an allocation: the types that a tensor may get, and the bytes of each. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.llamacpp.quantization.ggml_types import GGML_TYPES, blck_size, tensor_size
from models.quantization_types import mix_candidates
from quantize.gguf.header import aligned


@dataclass(frozen=True)
class Candidate:
    """A type for one tensor; `n_bytes`: the bytes that it takes in a file, padding included."""

    ggml_type: int
    n_bytes: int


def candidates(ne: Sequence[int], *, has_weights: bool, small: bool) -> tuple[Candidate, ...]:
    """Return the candidates of a tensor of the shape `ne` (row length first), from few bytes to many.

    `has_weights`: its importance is known; `small`: the requested size needs types of 2 and 3 bits.
    """
    if ne[0] % 256 == 0:
        names = (*(mix_candidates("small") if has_weights and small else ()), *mix_candidates("wide"))
    elif ne[0] % 32 == 0:
        names = mix_candidates("narrow")
    else:
        names = mix_candidates("odd")
    numbers = [GGML_TYPES[name] for name in names if ne[0] % blck_size(GGML_TYPES[name]) == 0]
    sized = [Candidate(number, aligned(tensor_size(number, ne))) for number in numbers]
    return tuple(sorted(sized, key=lambda candidate: candidate.n_bytes))
