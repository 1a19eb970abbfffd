"""The header that we write, read back by the gguf package and by our own reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFReader

from models.gguf.info import GGUFArray, read_gguf_info
from quantize.gguf import header
from quantize.gguf.header import TensorInfo, Value, ValueType

METADATA = {
    "general.architecture": header.string("llama"),
    "general.type": header.string("other"),
    "a.uint": header.uint32(2**32 - 1),
    "a.int": header.int32(-5),
    "a.float": header.float32(1e-5),
    "a.true": header.boolean(True),
    "a.large": Value(ValueType.UINT64, 2**63),
    "a.text": header.string("Grüße, 世界"),
    "a.strings": header.strings(["ä", "", "b" * 300]),
    "a.floats": header.array(ValueType.FLOAT32, [0.5, -1.0]),
    "a.empty": header.array(ValueType.INT32, []),
}


def write(path: Path) -> Path:
    tensors = [TensorInfo("one", (4, 2), 0, 0), TensorInfo("two.weight", (3,), 0, 32)]
    data = np.arange(8, dtype=np.float32).tobytes() + np.ones(3, np.float32).tobytes().ljust(32, b"\0")
    path.write_bytes(header.encode_header(METADATA, tensors) + data)
    return path


def test_the_gguf_package_reads_it(tmp_path: Path) -> None:
    reader = GGUFReader(write(tmp_path / "x.gguf"))
    for key, value in METADATA.items():
        read = reader.fields[key].contents()
        if value.type is ValueType.FLOAT32:
            assert read == np.float32(value.data)
        else:
            assert list(read) == list(value.data) if value.type is ValueType.ARRAY else read == value.data
    assert [tensor.name for tensor in reader.tensors] == ["one", "two.weight"]
    np.testing.assert_array_equal(reader.tensors[0].data, np.arange(8).reshape(2, 4))
    np.testing.assert_array_equal(reader.tensors[1].data, np.ones(3))


def test_our_own_reader_reads_it(tmp_path: Path) -> None:
    info = read_gguf_info(write(tmp_path / "x.gguf"))
    assert info.metadata["a.text"] == "Grüße, 世界"
    strings = info.metadata["a.strings"]
    assert isinstance(strings, GGUFArray)
    assert strings.length == 3
    assert [tensor.shape for tensor in info.tensors] == [(4, 2), (3,)]


def test_the_header_is_aligned() -> None:
    assert len(header.encode_header(METADATA, [])) % header.ALIGNMENT == 0
    assert [header.aligned(n) for n in (0, 1, 32, 33)] == [0, 32, 32, 64]
