"""Parts: names, limits, every tensor once, and nothing split that needn't be."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import QuantizationError
from models.gguf.info import split_paths
from quantize.gguf.header import TensorInfo, aligned, string
from quantize.plan.plan import PlannedFile
from quantize.plan.split import output_paths, part_name, parts

MIB = 2**20


def planned(*sizes: int) -> PlannedFile:
    infos, offset = [], 0
    for number, size in enumerate(sizes):
        infos.append(TensorInfo(f"blk.{number}.w", (size, 1), 24, offset))
        offset += aligned(size)
    metadata = {"general.architecture": string("llama"), "long": string("x" * 5000)}
    return PlannedFile("Q8_0", metadata, tuple(infos), sizes, sum(sizes))


def test_a_small_output_is_one_file() -> None:
    file = planned(1000, 2000)
    for limit in (None, file.size_bytes):
        (part,) = parts(file, limit)
        assert part.header == file.header
        assert part.size_bytes == file.size_bytes
        assert part.place(1) == len(file.header) + 1024


def test_parts_hold_every_tensor_once_and_stay_below_the_limit() -> None:
    file = planned(*[MIB // 3 + 7] * 10)
    made = parts(file, MIB)
    assert [len(part.tensors) for part in made] == [2, 2, 2, 2, 2]
    assert [info.name for part in made for info in part.tensors] == [info.name for info in file.tensors]
    for number, part in enumerate(made):
        assert part.size_bytes <= MIB
        assert part.first == 2 * number
        assert part.metadata["split.no"].data == number
        assert part.metadata["split.count"].data == 5
        assert part.metadata["split.tensors.count"].data == 10
        assert part.tensors[0].offset == 0
        assert ("long" in part.metadata) == (number == 0)


def test_a_tensor_larger_than_the_limit_has_a_part_to_itself() -> None:
    made = parts(planned(100, 3 * MIB, 100), MIB)
    assert [len(part.tensors) for part in made] == [1, 1, 1]


def test_limits_that_cant_be_meant() -> None:
    with pytest.raises(QuantizationError, match="at least 1MiB"):
        parts(planned(*[1000] * 10), 2000)
    with pytest.raises(QuantizationError, match=r"1,001 parts, the limit is 1,000"):
        parts(planned(*[MIB] * 1001), MIB)


def test_names_are_llama_cpps() -> None:
    assert part_name("x.Q8_0.gguf", 0, 1) == "x.Q8_0.gguf"
    made = parts(planned(MIB, MIB), MIB)
    (paths,) = output_paths([Path("/out/x.Q8_0.gguf")], [made])
    assert split_paths(paths[0]) == tuple(paths)
