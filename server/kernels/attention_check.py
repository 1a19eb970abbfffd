"""The check of the attention kernels against ggml's own, on random caches: a few milliseconds.

A token's result must be the same, bit for bit, whichever tokens are computed beside it and whatever lies
between the keys that it sees.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.llamacpp.kernel_attention import Attention, Bytes, Floats
from models.llamacpp.kernel_library import KernelLibrary
from models.llamacpp.quantization.dequantizer import dequantize_rows
from models.llamacpp.quantization.ggml_types import GGML_TYPES, row_size, type_name
from server.kernels.check import MOST_ERROR, ROUNDING, Exact
from server.kernels.samples import SEED, random_weights

KV_TYPES = tuple(GGML_TYPES[name] for name in ("F32", "F16", "BF16", "Q8_0"))
"""The types of a cache that have kernels."""
SHAPES = ((2, 2, 64, 64, 5), (8, 1, 128, 96, 3))
"""Heads, KV heads, widths of keys and values, and tokens of the attentions that are tried."""
N_KEYS = 150
"""The cache has so many keys: blocks that are full and one that isn't."""


def find_attention_fault(library: KernelLibrary) -> str | None:
    """Return how the attention kernels fail; None if they pass, or if this CPU has none."""
    for one in KV_TYPES:
        for n_heads, n_kv_heads, dk, dv, n_tokens in SHAPES:
            tried = random_attention((n_heads, n_kv_heads, dk, dv), (1, n_tokens, N_KEYS), (one, one))
            fault = find_fault_of(library, tried)
            if fault is not None:
                return f"{fault} with keys and values of {type_name(one)}"
    return None


def find_fault_of(library: KernelLibrary, tried: Attention) -> str | None:
    """Return what is wrong with one attention by the kernels; None if nothing is."""
    ours, plain = library.attend(tried, is_ours=True), library.attend(tried, is_ours=False)
    if ours is None or plain is None:
        return "ggml couldn't compute it"
    exact = exact_attention(tried)
    error, most = relative_error(ours, exact), relative_error(plain, exact)
    if not error <= max(MOST_ERROR * most, ROUNDING):  # NaN fails, too
        return f"its error is {error:.6f}, ggml's {most:.6f},"
    for token in range(tried.q.shape[1]):
        alone = library.attend(tried.of_tokens(token, token + 1), is_ours=True)
        if alone is None or not np.array_equal(alone[:, 0], ours[:, token]):
            return "a token alone gives other bits than beside others"
    packed = library.attend(without_hidden_keys(tried), is_ours=True)
    if packed is None or not np.array_equal(packed[0], ours[0, -1:]):
        return "hidden keys change a token's bits"
    return None


def random_attention(
    widths: tuple[int, int, int, int], counts: tuple[int, int, int], types: tuple[int, int]
) -> Attention:
    """Return an attention. `widths`: heads, KV heads, dk, dv; `counts`: streams, tokens, keys.

    Each token sees the keys before it, except for some that others see, and the last token half of them.
    """
    (n_heads, n_kv_heads, dk, dv), (n_streams, n_tokens, n_keys) = widths, counts
    random = np.random.default_rng((SEED, *widths, *counts, *types))
    n_rows = n_streams * n_keys * n_kv_heads
    cells = (n_streams, n_keys, n_kv_heads, -1)
    k, v = (_random_rows(random, one, n_rows, n) for one, n in zip(types, (dk, dv), strict=True))
    mask = np.zeros((n_streams, n_tokens, n_keys), np.float16)
    for token in range(n_tokens):
        mask[:, token, max(1, n_keys - n_tokens + token + 1) :] = -np.inf
        mask[:, token, 3 + token :: 17] = -np.inf
    mask[:, -1, 1 : max(1, n_keys - 1) : 2] = -np.inf
    return Attention(
        q=(random.standard_normal((n_streams, n_tokens, n_heads, dk)) * 2).astype(np.float32),
        k=k.reshape(cells),
        v=v.reshape(cells),
        k_type=types[0],
        v_type=types[1],
        dv=dv,
        mask=mask,
        scale=dk**-0.5,
    )


def _random_rows(random: np.random.Generator, ggml_type: int, n_rows: int, width: int) -> Bytes:
    if ggml_type == GGML_TYPES["Q8_0"]:
        return random_weights(ggml_type, width, n_rows)
    values = random.standard_normal((n_rows, width)).astype(np.float32)
    if ggml_type == GGML_TYPES["BF16"]:
        return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    return (values.astype(np.float16) if ggml_type == GGML_TYPES["F16"] else values).view(np.uint8)


def without_hidden_keys(tried: Attention) -> Attention:
    """Return the last token of the first stream with the keys that it sees, and no others."""
    assert tried.mask is not None
    shown = np.isfinite(tried.mask[0, -1])
    return Attention(
        q=np.ascontiguousarray(tried.q[:1, -1:]),
        k=np.ascontiguousarray(tried.k[:1, shown]),
        v=np.ascontiguousarray(tried.v[:1, shown]),
        k_type=tried.k_type,
        v_type=tried.v_type,
        dv=tried.dv,
        mask=np.ascontiguousarray(tried.mask[:1, -1:, shown]),
        sinks=tried.sinks,
        scale=tried.scale,
        max_bias=tried.max_bias,
        softcap=tried.softcap,
    )


def exact_attention(tried: Attention) -> Exact:
    """Return the attention [streams, tokens, heads, dv] in doubles, without BLAS.

    ALiBi's slopes are those of Press and others, 2022.
    """
    n_heads, n_kv_heads = tried.q.shape[2], tried.k.shape[2]
    k = _values(tried.k, tried.k_type, tried.q.shape[3])
    v = _values(tried.v, tried.v_type, tried.dv)
    exact = np.zeros(tried.out_shape)
    for head, slope in enumerate(_slopes(n_heads, tried.max_bias)):
        of = head // (n_heads // n_kv_heads)
        q = tried.q[:, :, head].astype(np.float64)
        scores = np.einsum("std,snd->stn", q, k[:, :, of]) * tried.scale
        if tried.softcap:
            scores = tried.softcap * np.tanh(scores / tried.softcap)
        if tried.mask is not None:
            scores = scores + slope * tried.mask.astype(np.float64)
        sink = -np.inf if tried.sinks is None else float(tried.sinks[head])
        most = np.maximum(scores.max(axis=-1, keepdims=True), max(sink, -1e300))
        weights = np.exp(scores - most)
        total = weights.sum(axis=-1, keepdims=True) + np.exp(sink - most)
        total[total == 0] = 1.0
        exact[:, :, head] = np.einsum("stn,snd->std", weights / total, v[:, :, of])
    return exact


def _values(rows: Bytes, ggml_type: int, width: int) -> Exact:
    raw = rows.reshape(-1, row_size(ggml_type, width))
    return dequantize_rows(ggml_type, raw, width).astype(np.float64).reshape(*rows.shape[:3], width)


def _slopes(n_heads: int, max_bias: float) -> Sequence[float]:
    if max_bias == 0:
        return [1.0] * n_heads
    power = 1 << (n_heads.bit_length() - 1)
    first = [2.0 ** (-max_bias * (head + 1) / power) for head in range(power)]
    rest = [2.0 ** (-max_bias * (2 * head + 1) / (2 * power)) for head in range(n_heads - power)]
    return [*first, *rest]


def relative_error(result: Floats, exact: npt.NDArray[np.float64]) -> float:
    """Return the root of the mean square of the error, relative to the exact result's."""
    return float(np.sqrt(((result - exact) ** 2).mean() / (exact**2).mean()))
