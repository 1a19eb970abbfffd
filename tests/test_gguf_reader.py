"""The quick reader of GGUF files reads what gguf-py's own does, also in the other order of bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFEndian, GGUFReader, GGUFWriter

from tests.gguf_reader import QuickReader


@pytest.mark.parametrize("order", GGUFEndian)
def test_it_reads_what_the_package_does(order: GGUFEndian, tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "x.gguf", "x", endianess=order)
    writer.add_token_list(["", "a", "größer", "x" * 300])
    writer.add_token_scores([0.5, -1.0, 3.0])
    writer.add_array("flags", [True, False])
    writer.add_bool("flag", True)
    writer.add_uint64("large", 1 << 40)
    writer.add_tensor("t", np.arange(12, dtype=np.float32).reshape(3, 4))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    theirs, ours = GGUFReader(tmp_path / "x.gguf"), QuickReader(tmp_path / "x.gguf")
    assert list(ours.fields) == list(theirs.fields)
    for name, field in theirs.fields.items():
        found = ours.fields[name]
        assert (found.offset, found.types, list(found.data)) == (field.offset, field.types, list(field.data))
        assert [part.tolist() for part in found.parts] == [part.tolist() for part in field.parts]
        assert [part.dtype for part in found.parts] == [part.dtype for part in field.parts]
        assert found.contents() == field.contents()
    for tensor, expected in zip(ours.tensors, theirs.tensors, strict=True):
        assert (tensor.name, tensor.tensor_type, tensor.n_bytes) == (
            expected.name,
            expected.tensor_type,
            expected.n_bytes,
        )
        assert tensor.shape.tolist() == expected.shape.tolist()
        np.testing.assert_array_equal(tensor.data, expected.data)
