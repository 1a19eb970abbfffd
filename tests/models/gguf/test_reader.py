from __future__ import annotations

import contextlib
import struct
import time
import tracemalloc
from pathlib import Path

import pytest

from models.errors import InvalidGGUF
from models.gguf.info import GGUFInfo, read_gguf_info
from models.gguf.reader import MAX_ARRAY_STRINGS
from tests.malformed_gguf import bit_flipped, malformed
from tests.models.gguf.refusal import refused


def test_every_malformed_file_is_refused(small: Path, tmp_path: Path) -> None:
    data = small.read_bytes()
    header_bytes = read_gguf_info(small).tensors[0].offset
    cases = list(malformed(data, header_bytes))
    assert len(cases) >= 200
    assert all(case != data for _, case in cases)
    reasons = set()
    slowest = 0.0
    for what, case in cases:
        path = tmp_path / "case.gguf"
        path.write_bytes(case)
        start = time.monotonic()
        try:
            read_gguf_info(path)
        except InvalidGGUF as error:
            reasons.add(error.message)
        else:
            pytest.fail(f"{what} was read")
        slowest = max(slowest, time.monotonic() - start)
    assert slowest < 1.0
    assert len(reasons) > 100, "reasons should tell the cases apart"


def consistent(info: GGUFInfo) -> bool:
    """What every reader of a GGUFInfo may rely on."""
    end = max(tensor.offset + tensor.nbytes for tensor in info.tensors)
    return (
        info.architecture is not None
        and end <= info.size_bytes
        and 0 < (info.n_layer or 0) <= 512
        and all(isinstance(key, str) for key in info.metadata)
        and info.n_params > 0
    )


def test_flipped_bits_are_refused_or_harmless(small: Path, tmp_path: Path) -> None:
    data = small.read_bytes()
    header_bytes = read_gguf_info(small).tensors[0].offset
    path = tmp_path / "case.gguf"
    read = 0
    for what, case in bit_flipped(data, header_bytes, 400):
        path.write_bytes(case)
        with contextlib.suppress(InvalidGGUF):
            assert consistent(read_gguf_info(path)), what
            read += 1
    assert read < 300


@pytest.mark.parametrize("kind", ["strings", "numbers", "long string", "keys"])
def test_no_file_costs_much(tmp_path: Path, kind: str) -> None:
    """A sparse file as large as it likes, with counts that fit its size."""
    path = tmp_path / "large.gguf"
    with path.open("wb") as file:
        n_kv = 60_000 if kind == "keys" else 1
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, n_kv))
        if kind != "keys":
            file.write(struct.pack("<Q", 1) + b"a")
        if kind == "strings":
            file.write(struct.pack("<IIQ", 9, 8, MAX_ARRAY_STRINGS))
        elif kind == "numbers":
            file.write(struct.pack("<IIQ", 9, 12, 10**9))
        elif kind == "long string":
            file.write(struct.pack("<IQ", 8, 10**9))
        else:
            for index in range(n_kv):
                file.write(struct.pack("<Q", 5) + b"%05d" % index + struct.pack("<IB", 0, 1))
        file.truncate(12 << 30)
    start = time.monotonic()
    refused(path)
    assert time.monotonic() - start < 2.0
    if kind == "strings":  # a million of them are slow to trace; what they hold is within the header's limit
        return
    tracemalloc.start()
    try:
        refused(path)
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()
