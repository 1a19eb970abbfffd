"""The time of collecting, reckoned from rates that were measured once, is what was measured then."""

from __future__ import annotations

import pytest

from quantize.moments.estimate import SumPace, collecting_seconds, expected_inputs, sum_pace
from quantize.moments.sampling import Sampling
from quantize.plan.products import Product

FREE = 2**40
RATES = (2 / 65e9, SumPace(1 / 48e9, 2e-8))
"""Two cores of Zen 4: 65 GFLOP/s for the model's products, 48 of a sum's operations."""


def llama(n_layers: int, width: int, inner: int, kv: int, n_vocab: int = 0) -> list[Product]:
    """A Llama's products, of which `n_vocab` = 0 leaves the output matrix out."""
    shapes = {
        "attn_k": (width, kv),
        "attn_output": (width, width),
        "attn_q": (width, width),
        "attn_v": (width, kv),
        "ffn_down": (inner, width),
        "ffn_gate": (width, inner),
        "ffn_up": (width, inner),
    }
    layers = [
        Product(f"blk.{layer}.{kind}.weight", ne, 1, 1)
        for layer in range(n_layers)
        for kind, ne in shapes.items()
    ]
    return layers + [Product("output.weight", (width, n_vocab), 1, 1)] * bool(n_vocab)


def test_weights_of_the_same_rows_have_one_input() -> None:
    inputs = [one.input for one in expected_inputs(llama(1, 64, 128, 32, 512))]
    assert [one.weights for one in inputs] == [
        ("blk.0.attn_k.weight", "blk.0.attn_q.weight", "blk.0.attn_v.weight"),
        ("blk.0.attn_output.weight",),
        ("blk.0.ffn_down.weight",),
        ("blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"),
        ("output.weight",),
    ]
    assert expected_inputs([Product("blk.0.ffn_gate_inp.weight", (64, 8), 1, 1)]) == ()


def test_it_is_what_was_measured() -> None:
    """Three layers of a 1.1 B Llama took 22.1 s for 4 chunks, 37.4 s for 8, and in four passes 42.2 s."""
    three = llama(3, 2048, 5632, 256, 32_000)
    assert collecting_seconds(three, Sampling(4, 512), FREE, *RATES) == pytest.approx(22.1, rel=0.15)
    assert collecting_seconds(three, Sampling(8, 512), FREE, *RATES) == pytest.approx(37.4, rel=0.15)
    room = 110_000_000
    assert collecting_seconds(three, Sampling(4, 512), room, *RATES) == pytest.approx(42.2, rel=0.15)


def test_a_layer_of_a_7_b_model() -> None:
    """It took 6.5 s of a processor for each chunk, at 44 GFLOP/s."""
    seconds = collecting_seconds(
        llama(1, 4096, 11_008, 4096), Sampling(8, 512), FREE, 2 / 44e9, SumPace(1 / 48e9, 0.0)
    )
    assert seconds / 8 == pytest.approx(6.5, rel=0.1)


def test_experts_take_the_rows_that_are_routed_to_them() -> None:
    one = collecting_seconds(
        [Product("blk.0.ffn_up_exps.weight", (512, 64, 8), 8, 1)], Sampling(8, 512), FREE, *RATES
    )
    two = collecting_seconds(
        [Product("blk.0.ffn_up_exps.weight", (512, 64, 8), 8, 2)], Sampling(8, 512), FREE, *RATES
    )
    kept = 8 * 512**2 * RATES[1].keeping
    assert two - kept == pytest.approx(2 * (one - kept))


def test_a_sum_is_timed() -> None:
    pace = sum_pace(1)
    assert 1e-13 < pace.adding < 1e-8
    assert 1e-11 < pace.keeping < 1e-5
