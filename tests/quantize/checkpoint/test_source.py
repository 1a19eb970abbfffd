"""Every source keeps the contract of TensorSource, and nobody probes one for more than that."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import quantize
from models.hub.fetch import Retries
from models.hub.files import RemoteFile
from models.hub.ranges import RangeReader
from models.llamacpp.quantization.ggml_types import GGML_TYPES
from quantize.architectures.base.passthrough import BlockRows
from quantize.checkpoint.checkpoint import open_weights
from quantize.checkpoint.gguf import GGUFSource, open_gguf
from quantize.checkpoint.hub_stream import HubStreamSource, RemoteBytes
from quantize.checkpoint.prefetch import Prefetcher
from quantize.checkpoint.quantized.dequantize import DequantizedSource
from quantize.checkpoint.quantized.detect import dequantize
from quantize.checkpoint.safetensors import SafetensorsSource
from quantize.checkpoint.sentence_modules import SourceWithModules
from quantize.checkpoint.source import BlockSource, TensorSource
from quantize.checkpoint.torch.source import TorchSource
from quantize.merge.borrowed_output import BorrowedOutput
from quantize.merge.lora import LoraSource
from quantize.merge.output_matrix import RenamedSource
from quantize.merge.source import MergeSource
from tests.peft import write_peft_adapter
from tests.pico import write_pico_checkpoint
from tests.quantize.checkpoint.memory_source import MemorySource
from tests.quantize.checkpoint.quantized_layers import gptq
from tests.quantize.checkpoint.torch_files import write_tensors
from tests.quantize.checkpoint.write_tensors import write_any_safetensors
from tests.quantize.merge.models import open_recipe, write_family
from tests.quantize.quantize_folder import quantize_folder

PROBES = {("os", "posix_fadvise"), ("os", "sched_getaffinity")}
"""The attributes that a platform may lack."""


def small(folder: Path) -> Path:
    return write_pico_checkpoint(folder / "pico", n_layers=1)


def memory(_: Path) -> TensorSource:
    return MemorySource({"x": np.arange(12, dtype=np.float32).reshape(4, 3), "y": np.ones(5, np.float16)})


def safetensors(folder: Path) -> SafetensorsSource:
    return SafetensorsSource([small(folder) / "model.safetensors"])


def torch(folder: Path) -> TensorSource:
    source = safetensors(folder)
    tensors = {name: source.rows(name, 0, entry.shape[0]) for name, entry in source.entries.items()}
    source.close()
    return TorchSource([write_tensors(folder / "x.bin", tensors)])


def gguf(folder: Path) -> TensorSource:
    return open_gguf(quantize_folder(small(folder), ["Q8_0"], folder, threads=1)[0].path)


def block_rows(folder: Path) -> TensorSource:
    source, q8_0 = gguf(folder), GGML_TYPES["Q8_0"]
    assert isinstance(source, BlockSource)
    return BlockRows(source, [name for name in source.entries if source.ggml_type(name) == q8_0], q8_0)


def floats_of_gptq(folder: Path) -> TensorSource:
    layer = gptq(96, 64, bits=4, group_size=16)
    tensors = {f"layer.{name}": array for name, array in layer.tensors.items()}
    write_any_safetensors(folder / "x.safetensors", tensors | {"norm.weight": np.ones(5, np.float16)})
    settings = {"quant_method": "gptq", "bits": 4, "group_size": 16}
    raw = SafetensorsSource([folder / "x.safetensors"])
    return dequantize(raw, {"quantization_config": settings}, folder)


class FileStream:
    """The part of a local file from `offset` on, as a server would send it."""

    def __init__(self, path: Path, offset: int) -> None:
        self.path, self.offset = path, offset

    def chunks(self) -> Iterator[bytes]:
        yield self.path.read_bytes()[self.offset :]

    def abort(self) -> None:
        pass


def hub_stream(folder: Path) -> TensorSource:
    """Open a stream whose Hub is a local file."""
    path = small(folder) / "model.safetensors"
    remote = RemoteFile(path.name, path.stat().st_size, None, "0")
    reader = RangeReader(lambda _file, begin, _end: nullcontext(FileStream(path, begin)), Retries())
    prefetcher = Prefetcher(reader, [remote], 2**20)
    return HubStreamSource({path: RemoteBytes(remote, reader, prefetcher)}, {}, prefetcher)


def lora(folder: Path) -> TensorSource:
    adapter = write_peft_adapter(folder / "adapter", small(folder))
    return LoraSource(open_weights(folder / "pico"), [(adapter, 1.0)])


def renamed(folder: Path) -> TensorSource:
    base = open_weights(small(folder))
    return RenamedSource(base, {"one": "lm_head.weight", "two": "lm_head.weight"})


def borrowed(folder: Path) -> TensorSource:
    head = MemorySource({"norm.weight": np.ones(5, np.float32)})
    return BorrowedOutput(head, open_weights(small(folder)), "lm_head.weight")


def with_modules(folder: Path) -> TensorSource:
    dense = MemorySource({"linear.weight": np.arange(6, dtype=np.float32).reshape(2, 3)})
    return SourceWithModules(open_weights(small(folder)), {"2_Dense": dense})


def merge(folder: Path) -> TensorSource:
    write_family(folder, ["a", "b"], n_layers=1)
    models = [{"model": str(folder / name), "parameters": {"weight": 0.5}} for name in ("a", "b")]
    checkpoint = open_recipe(folder, {"merge_method": "linear", "models": models})
    assert checkpoint.temporary is not None
    checkpoint.temporary.cleanup()  # the small files: the tensors lie elsewhere
    return checkpoint.tensors


SOURCES: dict[type[TensorSource], Callable[[Path], TensorSource]] = {
    MemorySource: memory,
    SafetensorsSource: safetensors,
    TorchSource: torch,
    GGUFSource: gguf,
    DequantizedSource: floats_of_gptq,
    HubStreamSource: hub_stream,
    LoraSource: lora,
    RenamedSource: renamed,
    BorrowedOutput: borrowed,
    SourceWithModules: with_modules,
    MergeSource: merge,
    BlockRows: block_rows,
}


def concrete_sources(kind: type[TensorSource] = TensorSource) -> Iterator[type[TensorSource]]:
    for subclass in kind.__subclasses__():
        if not inspect.isabstract(subclass) and subclass.__module__.startswith("quantize."):
            yield subclass
        yield from concrete_sources(subclass)


def test_every_source_is_tested() -> None:
    for module in pkgutil.walk_packages(quantize.__path__, "quantize."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert set(concrete_sources()) <= set(SOURCES)


@pytest.mark.parametrize("kind", SOURCES, ids=lambda kind: kind.__name__)
def test_a_source_keeps_the_contract(kind: type[TensorSource], tmp_path: Path) -> None:
    source = SOURCES[kind](tmp_path)
    assert type(source) is kind
    assert source.memory_bytes >= 0
    assert source.working_itemsize >= 0
    assert source.is_stream is (kind is HubStreamSource)
    source.expect(list(source.entries))
    for name, entry in source.entries.items():
        assert entry.name == name
        rows = source.rows(name, 0, entry.shape[0])
        assert (rows.shape, rows.dtype) == (entry.shape, entry.dtype)
        middle = source.rows(name, 1, 3)
        np.testing.assert_array_equal(middle, rows[1:3])
        middle[...] = 0  # the caller's own
        np.testing.assert_array_equal(source.rows(name, 0, entry.shape[0]), rows)
        assert source.rows(name, 2, 2).shape == (0, *entry.shape[1:])
        if len(entry.shape) == 2:
            np.testing.assert_array_equal(source.columns(name, 1, 3), rows[:, 1:3])
    source.close()


def test_a_source_around_others_passes_on_what_they_say(tmp_path: Path) -> None:
    adapter = write_peft_adapter(tmp_path / "adapter", small(tmp_path))
    base = hub_stream(tmp_path)
    source = LoraSource(base, [(adapter, 1.0)])
    assert source.is_stream
    assert source.memory_bytes > base.memory_bytes > 0
    source.close()


def test_a_dequantized_layer_is_expected_as_its_parts() -> None:
    layer = gptq(96, 64, bits=4, group_size=16)
    tensors = {f"layer.{name}": array for name, array in layer.tensors.items()} | {"x": np.ones(5)}
    raw = MemorySource(tensors)
    settings = {"quant_method": "gptq", "bits": 4, "group_size": 16}
    dequantize(raw, {"quantization_config": settings}, Path("nowhere")).expect(["x", "layer.weight"])
    assert raw.expected[0] == "x"
    assert set(raw.expected) == set(tensors)


def probes(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (object, attribute) for each getattr with a default and each hasattr of a fixed attribute."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            is_probe = node.func.id == "hasattr" or (node.func.id == "getattr" and len(node.args) == 3)
            if is_probe:
                yield ast.unparse(node.args[0]), ast.unparse(node.args[1]).strip("'")


def test_no_object_is_probed_for_attributes() -> None:
    paths = Path(quantize.__path__[0]).rglob("*.py")
    assert {probe for path in paths for probe in probes(path)} <= PROBES
