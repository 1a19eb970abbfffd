"""Quantized layers of random numbers, and the weights they mean: scalar Python by the papers' formulas.

Nothing is shared with the sources: numbers are packed one by one into Python integers, and each weight is
computed by itself, `scale · (q − zero)`, in F32.
"""

from __future__ import annotations

import json
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


def awq_fast(
    n_out: int, n_in: int, *, group_size: int, zeros_name: str = "qzeros", seed: int = 0
) -> Quantized:
    """Pack as AutoAWQ's gemv_fast and llm-awq do: word by word, each four numbers of one output.

    16 words of 64 are of one output; the numbers of 32 inputs are in four runs of 8, of which each has the
    pairs 0 8 16 24, 2 10 18 26 …, even places before odd ones.
    """
    random = np.random.default_rng(seed)
    size = n_in if group_size == -1 else group_size
    n_groups = n_in // size
    q, zeros = random.integers(0, 16, (n_out, n_in)), random.integers(0, 16, (n_out, n_groups))
    scales = random_scales(random, (n_out, n_groups))
    scaled = -(scales.astype(np.float32) * zeros).astype(np.float16)
    padded = np.zeros((2, -(-n_groups // 8) * 8, n_out), np.float16)
    padded[:, :n_groups] = scales.T, scaled.T
    order = [pair + 8 * run + number for pair in (0, 2, 4, 6) for number in (0, 1) for run in range(4)]
    packed = np.zeros((n_out // 4, n_in), np.uint16)
    for o in range(n_out):
        for place in range(n_in):
            unit, at = divmod(place, 64)
            word = 64 * unit + 16 * (o % 4) + at // 4
            number = int(q[o, 64 * unit + at // 32 * 32 + order[at % 32]])
            packed[o // 4, word] |= number << (4 * (at % 4))
    weight = np.empty((n_out, n_in), np.float32)
    for o in range(n_out):
        for i in range(n_in):
            product = np.float32(q[o, i]) * np.float32(scales[o, i // size])
            weight[o, i] = product + np.float32(scaled[o, i // size])
    tensors = {"qweight": packed.view(np.int16), "scales": padded[0], zeros_name: padded[1]}
    return Quantized(tensors, weight)


def marlin(
    n_out: int, n_in: int, *, group_size: int, names: tuple[str, str] = ("B", "s"), seed: int = 0
) -> Quantized:
    """Pack for Marlin: word by word, what a thread of 32 multiplies with in each of four tiles.

    Thread t has of a tile of 16 by 16 the outputs t // 4 and 8 further, of each the inputs 2 (t % 4) and the
    next, and those 8 further; a word has every second of these 8 numbers first.
    """
    random = np.random.default_rng(seed)
    size = n_in if group_size == -1 else group_size
    q, scales = random.integers(0, 16, (n_out, n_in)), random_scales(random, (n_in // size, n_out))
    packed = np.zeros((n_in // 16, 2 * n_out), np.uint32)
    for line in range(n_in // 16):
        for word in range(2 * n_out):
            chunk, at = divmod(word, 128)
            thread, tile = divmod(at, 4)
            outputs = [64 * chunk + 16 * tile + thread // 4 + further for further in (0, 8)]
            inputs = [16 * line + 2 * (thread % 4) + further for further in (0, 1, 8, 9)]
            numbers = [int(q[o, i]) for o in outputs for i in inputs]
            packed[line, word] = sum(
                number << (4 * at) for at, number in enumerate([*numbers[::2], *numbers[1::2]])
            )
    stored = np.empty_like(scales)
    for o in range(n_out):  # of 64 outputs, the eight that are 8 apart are neighbours; of 32, four pairs
        chunk, at = divmod(o, 64 if group_size != -1 else 32)
        place = 8 * (at % 8) + at // 8 if group_size != -1 else at % 8 // 2 * 8 + at // 8 * 2 + at % 2
        stored[:, chunk * (64 if group_size != -1 else 32) + place] = scales[:, o]
    weight = np.empty((n_out, n_in), np.float32)
    for o in range(n_out):
        for i in range(n_in):
            weight[o, i] = np.float32(int(q[o, i]) - 8) * np.float32(scales[i // size, o])
    return Quantized({names[0]: packed.view(np.int32), names[1]: stored}, weight)


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


NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
    *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941),
    *(0.7229568362236023, 1.0),
)


def four_bits_of_bitsandbytes(n_out: int, n_in: int, *, nested: bool, seed: int = 0) -> Quantized:
    """Blocks of 64 numbers; nested scales are bytes in blocks of 4, which would be 256 in a larger layer."""
    random = np.random.default_rng(seed)
    numbers = random.integers(0, 16, n_out * n_in)
    n_blocks = -(-n_out * n_in // 64)
    state: dict[str, Any] = {
        "quant_type": "nf4",
        "blocksize": 64,
        "dtype": "bfloat16",
        "shape": [n_out, n_in],
    }
    table = np.array(NF4, np.float32)
    tensors: Tensors = {
        "weight": np.array([[numbers[i] * 16 + numbers[i + 1]] for i in range(0, len(numbers), 2)], np.uint8),
        "weight.quant_map": table,
    }
    scales = random.uniform(0.01, 0.1, n_blocks).astype(np.float32)
    if nested:
        state |= {"nested_blocksize": 4, "nested_dtype": "float32", "nested_offset": 0.0437}
        stored = random.integers(0, 256, n_blocks).astype(np.uint8)
        inner_map = np.sort(random.uniform(-1, 1, 256)).astype(np.float32)
        outer = random.uniform(0.01, 0.03, -(-n_blocks // 4)).astype(np.float32)
        tensors |= {"weight.nested_quant_map": inner_map, "weight.nested_absmax": outer}
        scales = np.array(
            [inner_map[s] * outer[i // 4] + np.float32(0.0437) for i, s in enumerate(stored)], np.float32
        )
    tensors["weight.absmax"] = stored if nested else scales
    letters = json.dumps(state).encode()
    tensors["weight.quant_state.bitsandbytes__nf4"] = np.frombuffer(letters, np.uint8)
    weight = np.array([table[number] * scales[i // 64] for i, number in enumerate(numbers)], np.float32)
    return Quantized(tensors, weight.reshape(n_out, n_in))


def eight_bits_of_bitsandbytes(n_out: int, n_in: int, *, seed: int = 0) -> Quantized:
    random = np.random.default_rng(seed)
    numbers = random.integers(-127, 128, (n_out, n_in)).astype(np.int8)
    scales = random.uniform(0.01, 0.2, n_out).astype(np.float32)
    per_127 = np.float32(7.874015718698502e-3)
    weight = np.array(
        [[np.float32(q) * s * per_127 for q in row] for row, s in zip(numbers, scales, strict=True)],
        np.float32,
    )
    tensors: Tensors = {"weight": numbers, "SCB": scales, "weight_format": np.array(0, np.uint8)}
    return Quantized(tensors, weight)


def hqq(n_out: int, n_in: int, *, bits: int, axis: int = 1, seed: int = 0) -> Quantized:
    """Groups of 32 numbers, which are rows of a matrix (axis 1) or its columns."""
    random = np.random.default_rng(seed)
    n_groups = n_out * n_in // 32
    n_rows, n_columns = (n_groups, 32) if axis == 1 else (32, n_groups)
    numbers = random.integers(0, 1 << bits, (n_rows, n_columns))
    of_groups = (n_rows, 1) if axis == 1 else (1, n_columns)
    scale = random.uniform(0.001, 0.02, of_groups).astype(np.float16)
    zero = random.uniform(0, 1 << bits, of_groups).astype(np.float16)
    n_parts = 10 if bits == 3 else 8 // bits
    step = -(-n_rows // n_parts)
    packed = [[0] * n_columns for _ in range(step)]
    for i in range(n_rows):
        for j in range(n_columns):
            packed[i % step][j] |= int(numbers[i, j]) << (bits * (n_parts - 1 - i // step))
    weight = np.empty((n_rows, n_columns), np.float32)
    for i in range(n_rows):
        for j in range(n_columns):
            at = (i, 0) if axis == 1 else (0, j)
            weight[i, j] = (np.float32(numbers[i, j]) - np.float32(zero[at])) * np.float32(scale[at])
    name = "3bit_32" if bits == 3 else f"{bits}bit_u8"
    tensors: Tensors = {
        "W_q": np.array(packed, np.int32 if bits == 3 else np.uint8),
        "scale": scale,
        "zero": zero,
        "nbits": np.array(bits, np.int64),
        "group_size": np.array(32, np.int64),
        "shape": np.array([n_out, n_in], np.int64),
        "axis": np.array(axis, np.int64),
        "packing": np.array([ord(letter) for letter in name], np.uint8),
        "view_as_float": np.array(0, np.uint8),
        "stores_quant_config": np.array(1, np.uint8),
    }
    return Quantized(tensors, weight.reshape(n_out, n_in))


def bitnet(n_out: int, n_in: int, *, multiplies: bool = False, seed: int = 0) -> Quantized:
    random = np.random.default_rng(seed)
    numbers = random.integers(-1, 2, (n_out, n_in))
    step = n_out // 4
    packed = [
        [sum(int(numbers[k * step + i, j] + 1) << (2 * k) for k in range(4)) for j in range(n_in)]
        for i in range(step)
    ]
    scale = np.array([1.21875 if multiplies else 41.0], ml_dtypes.bfloat16)
    one = np.float32(scale[0])
    weight = numbers.astype(np.float32) * one if multiplies else numbers.astype(np.float32) / one
    return Quantized({"weight": np.array(packed, np.uint8), "weight_scale": scale}, weight)


def nvfp4(n_out: int, n_in: int, *, is_divisor: bool, seed: int = 0) -> Quantized:
    """Modelopt's names, or with a divisor those of compressed-tensors."""
    random = np.random.default_rng(seed)
    meanings = [0.0, 0.5, 1, 1.5, 2, 3, 4, 6]
    numbers = random.integers(0, 16, (n_out, n_in))
    scales = random.uniform(0.5, 200, (n_out, n_in // 16)).astype(ml_dtypes.float8_e4m3fn)
    one = np.array([9000.0 if is_divisor else 0.0001], np.float32)
    weight = np.empty((n_out, n_in), np.float32)
    for i in range(n_out):
        for j in range(n_in):
            scale = np.float32(scales[i, j // 16])
            scale = scale / one[0] if is_divisor else scale * one[0]
            sign = -1 if numbers[i, j] >= 8 else 1
            weight[i, j] = np.float32(sign * meanings[numbers[i, j] % 8]) * scale
    packed = [[row[j] | row[j + 1] << 4 for j in range(0, n_in, 2)] for row in numbers.tolist()]
    names = ("weight_packed", "weight_global_scale") if is_divisor else ("weight", "weight_scale_2")
    tensors: Tensors = {
        names[0]: np.array(packed, np.uint8),
        "weight_scale": scales,
        names[1]: one if is_divisor else one[0],
    }
    return Quantized(tensors, weight)


def modelopt_int4(
    n_out: int, n_in: int, *, group_size: int, second_scale: bool = False, seed: int = 0
) -> Quantized:
    """Two outputs to a byte, in two's complement. The second scale of W4A8 isn't the weights'."""
    random = np.random.default_rng(seed)
    q = random.integers(-8, 8, (n_out, n_in))
    scales = random_scales(random, (n_out, n_in // group_size))
    packed = [[(q[o, i] & 15) | (q[o + 1, i] & 15) << 4 for i in range(n_in)] for o in range(0, n_out, 2)]
    weight = np.empty((n_out, n_in), np.float32)
    for o in range(n_out):
        for i in range(n_in):
            weight[o, i] = np.float32(q[o, i]) * np.float32(scales[o, i // group_size])
    tensors: Tensors = {"weight": np.array(packed, np.uint8), "weight_scale": scales}
    if second_scale:
        tensors["weight_scale_2"] = np.array(0.25, np.float32)
    return Quantized(tensors, weight)


def smoothed(layer: Quantized, *, axes: int = 1, seed: int = 9) -> Quantized:
    """Return the layer with scales of its inputs, which the weight has to take over."""
    n_in = layer.weight.shape[1]
    scale = random_scales(np.random.default_rng(seed), (n_in,), ml_dtypes.bfloat16)
    weight = layer.weight.copy()
    for i in range(n_in):
        weight[:, i] *= np.float32(scale[i])
    stored = scale if axes == 1 else scale.reshape(1, n_in)
    return Quantized({**layer.tensors, "pre_quant_scale": stored}, weight)
