"""Quantized layers of random numbers, and the weights they mean: scalar Python by the papers' formulas.

Nothing is shared with the sources: numbers are packed one by one into Python integers, and each weight is
computed by itself, `scale · (q − zero)`, in F32.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

Tensors = dict[str, npt.NDArray[Any]]
F32 = npt.NDArray[np.float32]
ONES = {
    2: [0x5555555555555555],
    3: [0x49249249, 0x92492492, 0x24924924],
    4: [0x1111111111111111],
    8: [0x0101010101010101],
}
"""A one for each number, in words of up to 64 bits; 32 numbers of 3 bits lie in three words of 32."""
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


@dataclass(frozen=True)
class Quantized:
    """A layer: `tensors` as in a checkpoint (names without a prefix), and their `weight` [n_out, n_in]."""

    tensors: Tensors
    weight: F32


def random_scales(random: np.random.Generator, shape: tuple[int, ...], dtype: Any = np.float16) -> Any:
    return (random.uniform(0.001, 0.02, shape) * random.choice([-1, 1], shape)).astype(dtype)


def stream(numbers: Iterable[Any], bits: int, word_bits: int = 32) -> list[int]:
    """Pack the numbers into words of one long number, the first one lowest."""
    listed = [int(number) for number in numbers]
    whole = sum(number << (i * bits) for i, number in enumerate(listed))
    n_words = len(listed) * bits // word_bits
    return [(whole >> (word_bits * i)) % 2**word_bits for i in range(n_words)]


def words(numbers: Iterable[Any], bits: int, order: Sequence[int] | None = None) -> list[int]:
    """Pack 32 // bits numbers into each word; its n-th place holds the `order[n]`-th of them."""
    per_word = 32 // bits
    padded = [int(number) for number in numbers]
    padded += [0] * (-len(padded) % per_word)
    order = order or range(per_word)
    return [
        sum(padded[at + source] << (place * bits) for place, source in enumerate(order))
        for at in range(0, len(padded), per_word)
    ]


def as_int32(rows: Sequence[Sequence[int]]) -> npt.NDArray[np.int32]:
    return as_ints(rows, 32)


def as_ints(rows: Sequence[Sequence[int]], word_bits: int) -> npt.NDArray[Any]:
    return np.array(rows, f"u{word_bits // 8}").view(f"i{word_bits // 8}")


def gptq(
    n_out: int,
    n_in: int,
    *,
    bits: int,
    group_size: int,
    act_order: bool = False,
    g_idx: bool = True,
    sym: bool = False,
    v2: bool = False,
    lowest_zero: int = 0,
    word_bits: int = 32,
    ones: Sequence[int] | None = None,
    scale_dtype: Any = np.float16,
    seed: int = 0,
) -> Quantized:
    """Make a GPTQ layer. Before v2, `ones` is subtracted from the words of zeros, each by itself.

    llama.cpp's converter knows no carry, so that it reads a `lowest_zero` of 1 and above.
    """
    random = np.random.default_rng(seed)
    size = n_in if group_size == -1 else group_size
    n_groups = -(-n_in // size)
    q = random.integers(0, 1 << bits, (n_out, n_in))
    scales = random_scales(random, (n_groups, n_out), scale_dtype)
    zeros = random.integers(lowest_zero, 1 << bits, (n_groups, n_out))
    zeros[0, ::5] = lowest_zero
    if sym:
        zeros[:] = 1 << (bits - 1)
    groups = np.arange(n_in) // size
    if act_order:
        random.shuffle(groups)
    weight = np.empty((n_out, n_in), np.float32)
    for o in range(n_out):
        for i in range(n_in):
            g = groups[i]
            weight[o, i] = np.float32(scales[g, o]) * np.float32(int(q[o, i]) - int(zeros[g, o]))
    less = [0] if v2 else ones or [one % 2**word_bits for one in ONES[bits]]
    words_of_zeros = [
        [
            (word - less[i % len(less)]) % 2**word_bits
            for i, word in enumerate(stream(zeros[g], bits, word_bits))
        ]
        for g in range(n_groups)
    ]
    tensors: Tensors = {
        "qweight": as_ints([stream(q[o], bits, word_bits) for o in range(n_out)], word_bits).T.copy(),
        "qzeros": as_ints(words_of_zeros, word_bits),
        "scales": scales,
    }
    if g_idx:
        tensors["g_idx"] = groups.astype(np.int32)
    return Quantized(tensors, weight)


def awq(n_out: int, n_in: int, *, group_size: int, gemv: bool = False, seed: int = 0) -> Quantized:
    random = np.random.default_rng(seed)
    size = n_in if group_size == -1 else group_size
    n_groups = n_in // size
    q, zeros = random.integers(0, 16, (n_out, n_in)), random.integers(0, 16, (n_out, n_groups))
    scales = random_scales(random, (n_out, n_groups))
    weight = np.empty((n_out, n_in), np.float32)
    for o in range(n_out):
        for i in range(n_in):
            g = i // size
            weight[o, i] = np.float32(int(q[o, i]) - int(zeros[o, g])) * np.float32(scales[o, g])
    if gemv:
        n_padded = -(-n_groups // 8) * 8
        padded = np.zeros((n_out, n_padded), np.float16)
        padded[:, :n_groups] = scales
        packed_zeros = [words([*zeros[o], *[0] * (n_padded - n_groups)], 4) for o in range(n_out)]
        packed = as_int32([words(q[o], 4) for o in range(n_out)])
        return Quantized({"qweight": packed, "qzeros": as_int32(packed_zeros), "scales": padded}, weight)
    return Quantized(
        {
            "qweight": as_int32([words(q[:, i], 4, AWQ_ORDER) for i in range(n_in)]),
            "qzeros": as_int32([words(zeros[:, g], 4, AWQ_ORDER) for g in range(n_groups)]),
            "scales": np.ascontiguousarray(scales.T),
        },
        weight,
    )


def fp8(
    n_out: int,
    n_in: int,
    *,
    dtype: Any = ml_dtypes.float8_e4m3fn,
    block: tuple[int, int] | None = None,
    per_output: bool = False,
    scale_dtype: Any = np.float32,
    seed: int = 0,
) -> Quantized:
    """Make an FP8 layer; the scale is "weight_scale_inv" for blocks, else "weight_scale"."""
    random = np.random.default_rng(seed)
    q = random.standard_normal((n_out, n_in)).astype(np.float32).astype(dtype)
    rows_each, columns_each = block or ((1 if per_output else n_out), n_in)
    shape = (-(-n_out // rows_each), -(-n_in // columns_each))
    scales = random_scales(random, shape, scale_dtype)
    weight = np.empty((n_out, n_in), np.float32)
    for o in range(n_out):
        for i in range(n_in):
            weight[o, i] = np.float32(q[o, i]) * np.float32(scales[o // rows_each, i // columns_each])
    name = "weight_scale_inv" if block is not None else "weight_scale"
    stored = scales if block is not None or per_output else scales.reshape(1)
    return Quantized({"weight": q, name: stored}, weight)


def compressed(
    n_out: int,
    n_in: int,
    *,
    bits: int,
    strategy: str,
    group_size: int | None = None,
    packed: bool = True,
    asymmetric: bool = False,
    act_order: bool = False,
    plain_zeros: bool = False,
    seed: int = 0,
) -> Quantized:
    random = np.random.default_rng(seed)
    low = -(1 << (bits - 1))
    size = group_size or n_in
    n_groups = -(-n_in // size)
    n_rows = 1 if strategy == "tensor" else n_out
    q = random.integers(low, -low, (n_out, n_in))
    zeros = (
        random.integers(low, -low, (n_rows, n_groups)) if asymmetric else np.zeros((n_rows, n_groups), int)
    )
    scales = random_scales(random, (n_rows, n_groups), ml_dtypes.bfloat16)
    groups = np.arange(n_in) // size
    if act_order:
        random.shuffle(groups)
    weight = np.empty((n_out, n_in), np.float32)
    for o in range(n_out):
        for i in range(n_in):
            row, g = (0 if strategy == "tensor" else o), groups[i]
            weight[o, i] = np.float32(int(q[o, i]) - int(zeros[row, g])) * np.float32(scales[row, g])
    tensors: Tensors = {"weight_scale": scales.reshape(1) if strategy == "tensor" else scales}
    if packed:
        tensors["weight_packed"] = as_int32([words(q[o] - low, bits) for o in range(n_out)])
        tensors["weight_shape"] = np.array([n_out, n_in], np.int64)
    else:
        tensors["weight"] = q.astype(np.int8)
    if asymmetric and packed and not plain_zeros:
        columns = [words(zeros[:, g] - low, bits) for g in range(n_groups)]
        tensors["weight_zero_point"] = as_int32(columns).T.copy()
    elif asymmetric:
        tensors["weight_zero_point"] = zeros.astype(np.int8)
    if act_order:
        tensors["weight_g_idx"] = groups.astype(np.int32)
    return Quantized(tensors, weight)
