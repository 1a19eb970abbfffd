"""The time that collecting the moments of a text will take, reckoned from what small sums take here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from quantize.moments.blas import one_blas_thread
from quantize.moments.collect import group_inputs
from quantize.moments.inputs import Input
from quantize.moments.moments import InputName
from quantize.moments.sampling import Sampling
from quantize.moments.sums import InputSum, sum_bytes
from quantize.plan.products import Product

_SHARING: Final = (
    ("attn_q", "attn_k", "attn_v"),
    ("attn_q_a", "attn_kv_a_mqa"),
    ("ffn_gate", "ffn_up"),
    ("ffn_gate_shexp", "ffn_up_shexp"),
    ("ffn_gate_exps", "ffn_up_exps"),
)
"""Kinds of weights that meet the same rows in a layer, in most families."""
_ROUTER: Final = "ffn_gate_inp.weight"
_WIDTH, _ROWS, _RUNS = 2048, 512, 2
"""The columns and rows of a sum that is timed, and how often: the quicker one counts."""


@dataclass(frozen=True)
class SumPace:
    """The seconds for each pair of an input's columns: `adding` of one row, `keeping` in the file."""

    adding: float
    keeping: float


@dataclass(frozen=True)
class ExpectedInput:
    """An input of weights as a plan lets expect it. `n_rows`: so many rows of it come with each token."""

    input: Input
    layer: int | None
    n_rows: int


def expected_inputs(products: Sequence[Product]) -> tuple[ExpectedInput, ...]:
    """Return the inputs that will be summed, in the products' order. Pure."""
    shared: dict[str, list[Product]] = {}
    for product in products:
        if product.ne[0] % 32 == 0 and not product.name.endswith(_ROUTER):
            shared.setdefault(_input_of(product), []).append(product)
    return tuple(
        ExpectedInput(
            Input(
                some[0].name,
                tuple(product.name for product in some),
                some[0].ne[0],
                some[0].n_matrices,
                some[0].n_used < some[0].n_matrices,
                (0,),
            ),
            some[0].layer,
            some[0].n_used,
        )
        for some in shared.values()
    )


def _input_of(product: Product) -> str:
    """Return a name that is the same for products of the same rows."""
    layer, _, kind = product.name.removesuffix(".weight").rpartition(".")
    first = next((kinds[0] for kinds in _SHARING if kind in kinds), kind)
    return f"{layer}.{first}"


def collecting_seconds(
    products: Sequence[Product], sampling: Sampling, room: int, product_seconds: float, pace: SumPace
) -> float:
    """Return the seconds in which a text's moments are collected, with `room` bytes for sums. Pure.

    Where not all sums have room at a time, the text runs several times, each as far as there is one to add
    to. `product_seconds`: of one multiplication of the model's.
    """
    inputs = expected_inputs(products)
    n_tokens = sampling.n_windows * sampling.n_ctx
    n_summed = (sampling.n_windows - sampling.n_held_out) * sampling.n_ctx
    n_passed = sum(_operations_to(products, layers) for layers in _passes(inputs, sampling, room))
    return (
        n_tokens * n_passed * product_seconds
        + sum(one.n_rows * one.input.width**2 for one in inputs) * n_summed * pace.adding
        + sum(one.input.n_matrices * one.input.width**2 for one in inputs) * pace.keeping
    )


def _passes(inputs: Sequence[ExpectedInput], sampling: Sampling, room: int) -> list[int | None]:
    """Return the last layer of each pass over the text; None for the output matrix."""
    layers: Mapping[str, int | None] = {one.input.name: one.layer for one in inputs}
    units: list[tuple[InputName, int]] = [
        (name, sum_bytes(one.input, sampling)) for one in inputs for name in one.input.units()
    ]
    return [layers[group[-1].weight] for group in group_inputs(units, room)]


def _operations_to(products: Sequence[Product], last: int | None) -> int:
    return sum(
        product.operations
        for product in products
        if last is None or (product.layer is not None and product.layer <= last)
    )


def sum_pace(threads: int) -> SumPace:
    """Return what a small sum takes on so many threads. Takes a part of a second, and 30 MB."""
    one = InputSum(_WIDTH, 0, 0)
    rows = np.random.Generator(np.random.PCG64(0)).standard_normal((_ROWS, _WIDTH), np.float32)
    seconds = []
    with one_blas_thread(), ThreadPoolExecutor(threads, "moments") as pool:
        for _ in range(1 + _RUNS):  # the first one brings memory and threads
            began = time.perf_counter()
            for _ in pool.map(lambda task: task(), one.adding(rows)):
                pass
            seconds.append(time.perf_counter() - began)
    began = time.perf_counter()
    for _ in one.correlations():
        pass
    keeping = time.perf_counter() - began
    return SumPace(min(seconds[1:]) / (_ROWS * _WIDTH**2), keeping / _WIDTH**2)
