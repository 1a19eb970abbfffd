"""Tests that all instruction sets give the same products, those that this processor lacks in emulation."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.llamacpp.quantization.dequantizer import dequantize_rows
from models.llamacpp.quantization.ggml_types import GGML_TYPES, blck_size, type_name
from scripts.sources import unpack_sources
from server.kernels.attention_check import KV_TYPES, exact_attention, random_attention, relative_error
from server.kernels.check import ROUNDING as ATTENTION_ROUNDING
from server.kernels.gelu_check import exact_gelu, sample_values
from server.kernels.samples import SCALES_AT, random_columns, random_weights
from tests.server.kernels.emulation import ATTENTIONS, EMULATIONS, Products, Workshop

TYPES = {name: number for name, number in GGML_TYPES.items() if number in SCALES_AT and blck_size(number) > 1}
"""Types of blocks. Halves are multiplied as floats, by sets that run here."""
COLUMNS = 8
ROUNDING = 2e-7
"""The most error of a product, in units of a row's largest weight times the activations' magnitudes."""
SHAPE = (512, 37)
SPANS_SHAPE = (288, 37)
"""Types whose blocks are spans of 32 weights have it in place of the other."""
FURTHER_SHAPES = ((256, 16), (768, 48), (1024, 21))


def shape_of(ggml_type: int) -> tuple[int, int]:
    return SPANS_SHAPE if blck_size(ggml_type) == 32 else SHAPE


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("emulated"), unpack_sources(os.environ, Path(sys.executable)))


def products(
    workshop: Workshop, name: str, ggml_type: int, shape: tuple[int, int], *, optimized: bool = False
) -> Products:
    k, rows = shape
    weights, columns = random_weights(ggml_type, k, rows), random_columns(k, COLUMNS)
    found = workshop.program(name, optimized=optimized).multiply(ggml_type, weights, columns)
    assert found is not None, f"{name} has no kernels"
    return found


def check(workshop: Workshop, name: str, ggml_type: int, shape: tuple[int, int], *, optimized: bool) -> None:
    k, rows = shape
    found = products(workshop, name, ggml_type, shape, optimized=optimized)
    for nc in range(1, COLUMNS):
        assert np.array_equal(found.of[nc], found.of[COLUMNS][:nc]), f"{nc} columns alone"

    weights = dequantize_rows(ggml_type, random_weights(ggml_type, k, rows), k).astype(np.float64)
    exact = np.einsum("ck,rk->cr", found.activations, weights)
    largest = np.abs(weights).max(axis=1)[None, :] * np.abs(found.activations).sum(axis=1)[:, None]
    assert np.all(np.abs(found.of[COLUMNS] - exact) <= ROUNDING * largest)


@pytest.mark.parametrize("ggml_type", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("name", EMULATIONS)
def test_a_product_is_that_of_its_whole_numbers_beside_any_columns(
    workshop: Workshop, name: str, ggml_type: int
) -> None:
    check(workshop, name, ggml_type, shape_of(ggml_type), optimized=False)


@pytest.mark.parametrize("ggml_type", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("name", [name for name in EMULATIONS if name not in {"avx2", "avx-vnni"}])
def test_sets_with_sums_of_32_bits_give_the_same_bits(workshop: Workshop, name: str, ggml_type: int) -> None:
    shape = shape_of(ggml_type)
    ours = products(workshop, name, ggml_type, shape).of[COLUMNS]
    assert np.array_equal(ours, products(workshop, "avx-vnni", ggml_type, shape).of[COLUMNS])


@pytest.mark.parametrize("name", EMULATIONS)
def test_a_number_that_is_none_spoils_its_column_alone(workshop: Workshop, name: str) -> None:
    k, rows = SHAPE
    ggml_type = TYPES["Q6_K"]
    weights, columns = random_weights(ggml_type, k, rows), random_columns(k, 5)
    program = workshop.program(name)
    whole = program.multiply(ggml_type, weights, columns)
    columns[1, 300], columns[3, 7] = np.inf, np.nan
    spoiled = program.multiply(ggml_type, weights, columns)
    assert whole is not None
    assert spoiled is not None
    assert np.all(np.isnan(spoiled.of[5][[1, 3]]))
    assert np.array_equal(spoiled.of[5][[0, 2, 4]], whole.of[5][[0, 2, 4]])


@pytest.mark.thorough
@pytest.mark.parametrize("shape", FURTHER_SHAPES)
@pytest.mark.parametrize("ggml_type", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("name", EMULATIONS)
def test_further_shapes_as_the_library_is_compiled(
    workshop: Workshop, name: str, ggml_type: int, shape: tuple[int, int]
) -> None:
    optimized = EMULATIONS[name].machine == "aarch64"  # an emulation of instructions takes a compiler minutes
    check(workshop, name, ggml_type, shape, optimized=optimized)


@pytest.mark.parametrize("ggml_type", KV_TYPES, ids=type_name)
@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention_is_exact_and_depends_on_nothing_beside_it(
    workshop: Workshop, name: str, ggml_type: int
) -> None:
    """Rows go in panels of every height and one by one; blocks of keys are full, or hidden in part."""
    program = workshop.attention(name)
    for n_tokens, n_keys, softcap in (
        (1, 40, 0.0),
        (3, 130, 30.0),
        (9, 100, 0.0),
        (53, 230, 0.0),
        (97, 110, 5.0),
    ):
        tried = random_attention((1, 1, 64, 96), (1, n_tokens, n_keys), (ggml_type, ggml_type))
        tried = replace(tried, softcap=softcap)
        together, alone = program.attend(tried)
        assert np.array_equal(together, alone), (n_tokens, n_keys)
        assert relative_error(together, exact_attention(tried)[0, :, 0]) < ATTENTION_ROUNDING


@pytest.mark.parametrize("name", ATTENTIONS)
def test_a_value_that_is_no_number_spoils_the_rows_that_see_it(workshop: Workshop, name: str) -> None:
    tried = random_attention((1, 1, 64, 64), (1, 20, 120), (GGML_TYPES["F16"], GGML_TYPES["F16"]))
    tried.v.view(np.float16)[0, 110, 0, 5] = np.inf  # the tokens from the eleventh on see it, but for some
    together, alone = workshop.attention(name).attend(tried)
    assert np.array_equal(together, alone, equal_nan=True)
    assert tried.mask is not None
    sees = np.isfinite(tried.mask[0, :, 110])
    assert np.array_equal(np.isinf(together[:, 5]), sees)
    assert 0 < sees.sum() < 20
    assert np.isfinite(np.delete(together, 5, axis=1)).all()


@pytest.mark.parametrize("name", ATTENTIONS)
def test_gelu_is_exact_wherever_a_value_stands(workshop: Workshop, name: str) -> None:
    program = workshop.gelu(name)
    special = np.array([0.0, -0.0, 3e38, -3e38, np.inf, -np.inf], np.float32)
    x = np.concatenate([sample_values((1, 133))[0], special])
    for gate in (None, np.cos(np.arange(len(x))).astype(np.float32)):
        together, alone = program.gelu(x, gate)
        assert np.array_equal(together, alone)
        exact = exact_gelu(x[:-2]) * (1.0 if gate is None else gate[:-2].astype(np.float64))
        np.testing.assert_allclose(together[:-2], exact, rtol=1e-5, atol=1e-20)
        assert together[-1] == 0.0
    spoiled = program.gelu(np.array([1.0, np.nan, 2.0], np.float32), None)[0]
    assert np.array_equal(np.isnan(spoiled), [False, True, False])


@pytest.mark.thorough
@pytest.mark.parametrize("name", [*EMULATIONS, *ATTENTIONS])
def test_no_function_of_a_set_can_stand_in_for_that_of_another(workshop: Workshop, name: str) -> None:
    assert workshop.shared_functions(name) == []


@pytest.mark.parametrize(
    ("machine", "cpu", "sets"),
    [
        ("x86_64", "Nehalem", []),
        ("x86_64", "SandyBridge", []),
        ("x86_64", "Haswell", ["avx2"]),
        ("aarch64", "cortex-a53", []),
        ("aarch64", "neoverse-n1", ["neon-dotprod"]),
        ("aarch64", "max", ["neon-i8mm", "neon-dotprod"]),
    ],
)
def test_a_set_is_present_where_the_processor_has_its_instructions(
    workshop: Workshop, machine: str, cpu: str, sets: list[str]
) -> None:
    assert workshop.present_sets(machine, cpu) == sets


def test_a_set_that_the_compiler_did_not_know_is_passed_over(workshop: Workshop) -> None:
    assert workshop.present_sets("aarch64", "max", without="neon_i8mm") == ["neon-dotprod"]


def test_this_processor_has_the_sets_that_linux_reports(workshop: Workshop) -> None:
    present = workshop.present_sets("x86_64")
    needed = {
        "amx-int8": {"amx_tile", "amx_int8", "avx512_vnni"},
        "avx512-vnni": {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"},
        "avx-vnni": {"avx_vnni"},
        "avx2": {"avx2", "fma", "f16c"},
    }
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    flags = set(next(line for line in text.splitlines() if line.startswith("flags")).split())
    assert present == [name for name, wanted in needed.items() if wanted <= flags]
