"""What `read_gguf_info` lets pass must not take down the process that loads it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import InvalidGGUF
from models.gguf.checks import model_faults
from models.gguf.info import read_gguf_info
from tests.malformed_gguf import bit_flipped, write_small_gguf

LOAD = """
import sys
from pathlib import Path
from models.errors import CorralError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.model import Model
for path in sys.argv[1:]:
    print(path, flush=True)
    try:
        with Model.load(Path(path)) as model:
            context = Context(
                model, n_ctx=64, n_batch=32, n_ubatch=32, n_seq_max=1, n_threads=1, n_threads_batch=1,
                kv_unified=True, flash_attn="auto",
            )
            batch = TokenBatch(32)
            batch.add_many([1, 2, 3, 4], 0, 0, output_last=True)
            context.decode(batch)
            model.vocab.tokenize("hello world 123", add_special=True, parse_special=True)
            context.close()
        print("loaded", flush=True)
    except CorralError:
        pass
"""


@pytest.mark.model
def test_nothing_that_passes_crashes_llama_cpp(tmp_path: Path) -> None:
    small = write_small_gguf(tmp_path / "small.gguf")
    header_bytes = read_gguf_info(small).tensors[0].offset
    passed = [small]
    for index, (_, case) in enumerate(bit_flipped(small.read_bytes(), header_bytes, 250, seed=11)):
        path = tmp_path / f"{index}.gguf"
        path.write_bytes(case)
        try:
            read_gguf_info(path)
        except InvalidGGUF:
            path.unlink()
        else:
            passed.append(path)
    assert len(passed) > 30
    child = subprocess.run(
        [sys.executable, "-c", LOAD, *map(str, passed)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    lines = child.stdout.splitlines()
    assert child.returncode == 0, f"{lines[-1:]} {child.stderr[-500:]}"
    assert lines[:2] == [str(small), "loaded"]


@pytest.mark.parametrize(("name", "type_"), [("F32", "I32"), ("F32", "I8"), ("Q8_0", "F64"), ("Q8_0", "I64")])
def test_weights_are_no_whole_numbers(name: str, type_: str, tmp_path: Path) -> None:
    path = write_small_gguf(tmp_path / "small.gguf")
    info = read_gguf_info(path)
    tensor = next(tensor for tensor in info.tensors if tensor.type == name)
    assert not [*model_faults(info.metadata, info.tensors)]
    (fault,) = model_faults(info.metadata, [replace(tensor, type=type_)])
    assert fault == f"{tensor.name} has the type {type_}, with which no weights are computed"
    table = replace(tensor, name="blk.0.ffn_gate_tid2eid.weight", shape=(2, 300), type="I32")
    assert not [*model_faults(info.metadata, [table])]


@pytest.mark.parametrize("type_", ["F16", "BF16", "Q8_0"])
def test_norms_and_biases_are_f32(type_: str, tmp_path: Path) -> None:
    info = read_gguf_info(write_small_gguf(tmp_path / "small.gguf"))
    norm = next(tensor for tensor in info.tensors if tensor.name == "output_norm.weight")
    bias = replace(norm, name="blk.0.attn_q.bias")
    per_head = replace(norm, name="blk.0.attn_q_norm.weight", shape=(16, 4))
    for tensor in (norm, bias, per_head):
        (fault,) = model_faults(info.metadata, [replace(tensor, type=type_)])
        assert fault == f"{tensor.name} has the type {type_}; biases and norms must be F32"
    assert not [*model_faults(info.metadata, [norm, bias, per_head])]
