"""The attention kernels' numbers over shapes, types and masks; and that their check can fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.llamacpp.kernel_attention import Attention
from models.llamacpp.kernel_library import KernelLibrary
from models.llamacpp.quantization.ggml_types import GGML_TYPES
from server.kernels.attention_check import (
    KV_TYPES,
    N_KEYS,
    exact_attention,
    find_attention_fault,
    find_fault_of,
    random_attention,
    relative_error,
)
from server.kernels.check import MOST_ERROR, ROUNDING

F16, Q8_0 = GGML_TYPES["F16"], GGML_TYPES["Q8_0"]


@pytest.fixture
def attending(library: KernelLibrary) -> Iterator[KernelLibrary]:
    if not library.has_attention():
        pytest.skip("this CPU has no attention kernels")
    yield library
    library.use_attention(is_used=False)


def ours(library: KernelLibrary, tried: Attention, n_threads: int = 1) -> npt.NDArray[np.float32]:
    result = library.attend(tried, is_ours=True, n_threads=n_threads)
    assert result is not None
    return result


def test_they_pass_their_check(attending: KernelLibrary) -> None:
    assert find_attention_fault(attending) is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([(1, 1), (2, 1), (3, 3), (4, 2), (12, 4), (9, 3), (40, 1), (71, 1)]),
    st.tuples(st.sampled_from([32, 64, 96, 128, 192]), st.sampled_from([32, 64, 96, 128, 256])),
    st.tuples(st.integers(1, 2), st.integers(1, 40), st.integers(40, 300)),
    st.tuples(st.sampled_from(KV_TYPES), st.sampled_from(KV_TYPES)),
    st.tuples(st.sampled_from([0.0, 8.0]), st.sampled_from([0.0, 30.0]), st.booleans()),
)
def test_any_attention_is_as_exact_as_ggmls_and_depends_on_nothing_beside_it(
    attending: KernelLibrary,
    heads: tuple[int, int],
    widths: tuple[int, int],
    counts: tuple[int, int, int],
    types: tuple[int, int],
    extras: tuple[float, float, bool],
) -> None:
    max_bias, softcap, has_sinks = extras
    tried = random_attention((*heads, *widths), counts, types)
    assert tried.mask is not None
    if max_bias:  # ALiBi's masks are distances
        distance = np.arange(counts[2], dtype=np.float16)[::-1]
        tried = replace(tried, mask=np.ascontiguousarray(tried.mask - distance))
    sinks = np.linspace(-3, 3, heads[0], dtype=np.float32) if has_sinks else None
    tried = replace(tried, max_bias=max_bias, softcap=softcap, sinks=sinks)
    assert find_fault_of(attending, tried) is None
    together = ours(attending, tried)
    assert np.array_equal(ours(attending, tried, n_threads=3), together)
    middle = counts[1] // 2
    assert np.array_equal(ours(attending, tried.of_tokens(middle, counts[1])), together[:, middle:])


@pytest.mark.parametrize("width", [40, 72, 80, 576])
def test_widths_that_are_no_multiple_of_a_register_are_whole(attending: KernelLibrary, width: int) -> None:
    tried = random_attention((4, 2, width, width - 8), (1, 6, 130), (F16, F16))
    assert find_fault_of(attending, tried) is None


def test_scores_that_rise_far_are_exact(attending: KernelLibrary) -> None:
    """The bound of a row is raised again and again, at other keys for each row."""
    tried = random_attention((4, 2, 64, 64), (1, 9, 200), (F16, F16))
    keys = tried.k.view(np.float16).astype(np.float32) * np.linspace(0.01, 40, 200)[:, None, None]
    tried = replace(tried, k=keys.astype(np.float16).view(np.uint8))
    assert find_fault_of(attending, tried) is None
    assert relative_error(ours(attending, tried), exact_attention(tried)) < ROUNDING


def test_long_caches_are_exact(attending: KernelLibrary) -> None:
    tried = random_attention((2, 1, 64, 64), (1, 2, 20_000), (F16, Q8_0))
    assert relative_error(ours(attending, tried), exact_attention(tried)) < ROUNDING


def test_a_token_that_sees_nothing_gets_zeros(attending: KernelLibrary) -> None:
    tried = random_attention((4, 2, 64, 64), (1, 5, 70), (F16, F16))
    assert tried.mask is not None
    tried.mask[0, 2] = -np.inf
    result = ours(attending, tried)
    assert not result[0, 2].any()
    assert np.isfinite(result).all()
    assert result[0, 1].any()


def test_no_mask_shows_everything(attending: KernelLibrary) -> None:
    tried = replace(random_attention((4, 2, 64, 64), (2, 5, 70), (F16, F16)), mask=None)
    assert relative_error(ours(attending, tried), exact_attention(tried)) < ROUNDING


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", ["k", "v"])
@pytest.mark.parametrize("n_tokens", [1, 3, 12])
def test_a_cell_that_is_no_number_spoils_nobody_who_does_not_see_it(
    attending: KernelLibrary, bad: float, which: str, n_tokens: int
) -> None:
    tried = random_attention((4, 2, 64, 64), (1, n_tokens, 150), (F16, F16))
    good = ours(attending, tried)
    assert tried.mask is not None
    at = 150 - n_tokens  # the first token sees it as its last key, and the rest do, except where it is hidden
    tried.mask[0, :, at] = -np.inf
    hidden = ours(attending, tried)
    cell = (tried.k if which == "k" else tried.v).view(np.float16)
    cell[0, at, 1, 5] = bad
    assert np.array_equal(ours(attending, tried), hidden)
    tried.mask[0, 0, at] = 0
    spoiled = ours(attending, tried)
    assert np.array_equal(spoiled[:, 1:], hidden[:, 1:])
    assert np.array_equal(spoiled[0, 0, :2], good[0, 0, :2])  # the heads of the other KV head
    if which == "v" or np.isnan(bad):
        assert not np.isfinite(spoiled[0, 0, 2:, 5]).any()


def test_what_they_do_not_take_is_ggmls(attending: KernelLibrary) -> None:
    one = GGML_TYPES["Q4_0"]
    tried = random_attention((4, 2, 64, 64), (1, 3, 70), (Q8_0, F16))
    fewer = np.ascontiguousarray(tried.k[..., :36])  # scales may be anything; both compute the same
    fewer[..., 1::18] = 0x2C
    tried = replace(tried, k=fewer, k_type=one)
    theirs = attending.attend(tried, is_ours=False)
    assert theirs is not None
    assert np.array_equal(ours(attending, tried), theirs)


def test_shapes_that_do_not_fit_are_refused(attending: KernelLibrary) -> None:
    tried = random_attention((4, 2, 64, 64), (1, 3, 70), (F16, F16))
    with pytest.raises(ValueError, match="keys, values or mask aren't"):
        attending.attend(replace(tried, v=tried.v[:, :60]), is_ours=True)


class WrongAttention(KernelLibrary):
    """The real library, whose attention is spoiled on its way out."""

    def __init__(self, real: KernelLibrary, factor: float, from_tokens: int, below_keys: int = 1000) -> None:
        self._handle = real._handle
        self.factor, self.from_tokens, self.below_keys = factor, from_tokens, below_keys

    def attend(
        self, attention: Attention, *, is_ours: bool, n_threads: int = 1
    ) -> npt.NDArray[np.float32] | None:
        result = super().attend(attention, is_ours=is_ours, n_threads=n_threads)
        is_reached = attention.q.shape[1] >= self.from_tokens and attention.k.shape[1] < self.below_keys
        if result is not None and is_ours and is_reached:
            result[0, -1] *= np.float32(self.factor)
        return result


@pytest.mark.parametrize("factor", [1.1, -1.0, float("nan")])
def test_a_wrong_number_is_found(attending: KernelLibrary, factor: float) -> None:
    fault = find_attention_fault(WrongAttention(attending, factor, 1))
    assert fault is not None
    assert "its error is" in fault
    assert "with keys and values of F32" in fault


def test_bits_that_depend_on_neighbours_are_found(attending: KernelLibrary) -> None:
    fault = find_attention_fault(WrongAttention(attending, 1 + 2**-22, 2))
    assert fault is not None
    assert "a token alone" in fault
    fault = find_attention_fault(WrongAttention(attending, 1 + 2**-22, 1, below_keys=N_KEYS))
    assert fault is not None
    assert "hidden keys" in fault
    assert MOST_ERROR < 1.1
