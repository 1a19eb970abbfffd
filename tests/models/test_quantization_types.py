from __future__ import annotations

import ctypes
import re
from itertools import pairwise
from pathlib import Path

import gguf
import pytest

from models.llamacpp import library
from models.quantization_types import (
    FILE_TYPES,
    KV_CACHE_TYPES,
    MIX_BASES,
    QUANTIZATION_TYPES,
    TABLE,
    TENSOR_TYPES,
    QuantizationType,
    mix_candidates,
)


def test_every_name_and_number_is_given_once() -> None:
    assert len({row.name for row in TABLE}) == len(TABLE)
    assert len(TENSOR_TYPES) == sum(row.ggml is not None for row in TABLE)
    assert len(FILE_TYPES) == sum(row.ftype is not None for row in TABLE)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_row_agrees_with_itself(row: QuantizationType) -> None:
    assert row.name == row.name.upper()
    assert row.ggml is not None or row.ftype is not None
    is_tensor_type = row.ggml is not None
    assert (row.block_size > 0, row.block_bytes > 0) == (is_tensor_type, is_tensor_type)
    if row.kv_cache or row.mix:
        assert row.encoder is not None
    if row.ftype is None:
        assert not row.written
    if row.needs_imatrix or row.alias or row.default or row.serving_rank or row.mix_base_bits:
        assert row.written
    if row.rules_of is not None:
        assert row.written
        assert row.name in {other.name for other in TENSOR_TYPES.values()}
    if is_tensor_type and row.written:
        assert row.encoder is not None


def test_types_are_those_of_the_gguf_package() -> None:
    known = {number: (t.name, t.block_size, t.block_bytes) for number, t in TENSOR_TYPES.items()}
    for type_ in gguf.GGMLQuantizationType:
        if type_.name != "Q8_1":  # the package says 40 bytes, ggml-common.h's block_q8_1 has 36
            assert known[type_.value] == (type_.name, *gguf.GGML_QUANT_SIZES[type_])
    theirs = {
        type_.value: type_.name.removeprefix("MOSTLY_").removeprefix("ALL_")
        for type_ in gguf.LlamaFileType
        if type_.value < 1024
    }
    assert {number: FILE_TYPES[number] for number in FILE_TYPES if number in theirs} == theirs


def test_the_table_of_types_is_ggmls() -> None:
    block = library.bind("ggml_blck_size", ctypes.c_int64, ctypes.c_int)
    size = library.bind("ggml_type_size", ctypes.c_size_t, ctypes.c_int)
    name = library.bind("ggml_type_name", ctypes.c_char_p, ctypes.c_int)
    quantized = library.bind("ggml_is_quantized", ctypes.c_bool, ctypes.c_int)
    for number, row in TENSOR_TYPES.items():
        assert (block(number), size(number)) == (row.block_size, row.block_bytes), row.name
        assert name(number).decode().upper() == row.name
        assert quantized(number) == row.is_quantized, row.name


def test_written_types_go_from_large_to_small() -> None:
    written = [row for row in TABLE if row.written]
    assert [row.name for row in written] == list(QUANTIZATION_TYPES)
    families = [int(name[name.index("Q") + 1]) for name in QUANTIZATION_TYPES if "Q" in name]
    assert families == sorted(families, reverse=True)


def test_types_of_a_kv_cache_have_blocks_that_divide_any_head() -> None:
    names = {row.name.lower(): row for row in TABLE}
    assert all(names[name].block_size in (1, 32) for name in KV_CACHE_TYPES)


def test_every_size_of_a_mixed_file_has_a_base() -> None:
    assert all(lower < upper for (lower, _), (upper, _) in pairwise(MIX_BASES))
    assert MIX_BASES[-1] == (float("inf"), "Q8_0")


def test_every_row_length_has_a_candidate_without_quantization() -> None:
    for candidates in (mix_candidates("wide"), mix_candidates("narrow"), mix_candidates("odd")):
        assert "F16" in candidates
    names = {row.name: row for row in TABLE}
    assert all(names[name].block_size <= 32 for name in mix_candidates("narrow"))
    assert all(names[name].block_size == 1 for name in mix_candidates("odd"))


def test_the_page_names_the_types_that_need_a_matrix() -> None:
    page = (Path(__file__).parents[2] / "docs" / "quantization.md").read_text("utf-8")
    (line,) = [line for line in page.splitlines() if line.endswith("refuse to run without one.")]
    named = re.findall(r"I?Q[0-9]_[A-Z0-9_]+|TQ[0-9]_[0-9]", line)
    assert sorted(named) == sorted(row.name for row in TABLE if row.needs_imatrix)
