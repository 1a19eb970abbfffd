"""Random weights in ggml's blocks that have every bit pattern of scales and weights, and activations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from models.llamacpp.quantization.ggml_types import GGML_TYPES, row_size, type_size

SEED = 13
"""The random numbers of samples have this seed: a check that fails once fails again."""
LEAST_SCALE, MOST_SCALE = 2.0**-12, 2.0**-7
"""The magnitudes of random block scales. Their products with 6-bit scales stay ordinary numbers."""

SCALES_AT: Mapping[int, tuple[int, ...]] = {
    GGML_TYPES["Q4_0"]: (0,),
    GGML_TYPES["Q8_0"]: (0,),
    GGML_TYPES["Q4_K"]: (0, 2),
    GGML_TYPES["Q5_K"]: (0, 2),
    GGML_TYPES["Q6_K"]: (208,),
    GGML_TYPES["IQ4_NL"]: (0,),
    GGML_TYPES["IQ4_XS"]: (0,),
    GGML_TYPES["F16"]: (0,),
    GGML_TYPES["BF16"]: (0,),
    GGML_TYPES["F32"]: (0,),
}
"""The offsets of the numbers in a block of each type, scales or weights; all other bytes may be anything."""


def random_weights(ggml_type: int, k: int, rows: int) -> npt.NDArray[np.uint8]:
    """Return `rows` rows of blocks: random bytes, blocks of all zeros and ones among them, random scales.

    Raises KeyError for a type that isn't in `SCALES_AT`.
    """
    random = np.random.default_rng((SEED, ggml_type, k, rows))
    n_blocks = rows * row_size(ggml_type, k) // type_size(ggml_type)
    weights = random.integers(0, 256, (n_blocks, type_size(ggml_type)), np.uint8)
    weights[1::7], weights[4::7] = 0, 255
    for at in SCALES_AT[ggml_type]:
        magnitudes = random.uniform(LEAST_SCALE, MOST_SCALE, n_blocks)
        numbers = magnitudes * random.choice((-1.0, 1.0), n_blocks)
        of_numbers = number_bytes(ggml_type, numbers)
        weights[:, at : at + of_numbers.shape[1]] = of_numbers
    return weights.reshape(rows, -1)


def number_bytes(ggml_type: int, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Return numbers as a block of this type has them: `[n, 2]` bytes, of F32 `[n, 4]`."""
    if ggml_type == GGML_TYPES["F32"]:
        return numbers.astype(np.float32).view(np.uint8).reshape(-1, 4)
    if ggml_type == GGML_TYPES["BF16"]:
        upper = numbers.astype(np.float32).view(np.uint32) >> 16
        return upper.astype(np.uint16).view(np.uint8).reshape(-1, 2)
    return numbers.astype(np.float16).view(np.uint8).reshape(-1, 2)


def random_columns(k: int, n: int) -> npt.NDArray[np.float32]:
    """Return `n` columns of activations: normal ones with outliers; every eighth at its bounds throughout."""
    random = np.random.default_rng((SEED, k))
    columns = random.standard_normal((n, k)).astype(np.float32)
    columns[:, ::97] *= 8.0
    bounds = random.choice(np.array([-1.0, 1.0], np.float32), k)
    bounds[: k // 2] = 1.0  # all of one sign: the largest sums there are
    columns[7::8] = bounds
    return columns
