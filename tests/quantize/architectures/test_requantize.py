"""GGUF → GGUF: byte for byte what `llama_model_quantize` makes of the same file, metadata and all."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import gguf
import pytest

from models.gguf.info import read_gguf_info
from models.llamacpp.quantization.ggml_types import FTYPES
from models.llamacpp.quantization.quantizer import quantize_file
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.gguf.header import Value, string
from quantize.plan.make_plan import make_plan
from quantize.run.pipeline import run
from tests.gguf_reader import QuickReader
from tests.pico import write_pico_checkpoint
from tests.quantize.families.all_families import ALL_FAMILIES
from tests.quantize.families.checkpoint import read_golden, write_checkpoint
from tests.quantize.quantize_folder import run_plan

pytestmark = pytest.mark.model

SOURCES = ["F16", "BF16", "F32", "Q8_0", "Q5_K_M"]
PAIRS = [
    ("F16", ["Q8_0", "Q5_K_M", "Q4_K_M", "F32", "IQ4_XS"]),
    ("BF16", ["Q8_0", "Q4_K_M", "F16"]),
    ("F32", ["Q5_K_M", "BF16"]),
    ("Q8_0", ["Q4_K_M", "Q5_K_M", "F16", "Q8_0"]),
    ("Q5_K_M", ["Q4_K_M", "Q8_0"]),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    checkpoint = write_pico_checkpoint(folder / "pico", config={"vocab_size": 411})
    return {file.type: file.path for file in run_plan(checkpoint, SOURCES, folder)}


@pytest.mark.parametrize(("source", "types"), PAIRS, ids=[source for source, _ in PAIRS])
def test_the_file_is_llama_cpps_own(
    source: str, types: Sequence[str], files: dict[str, Path], tmp_path: Path
) -> None:
    ours = {file.type: file.path for file in run_plan(files[source], types, tmp_path)}
    for type_ in types:
        theirs = tmp_path / "theirs.gguf"
        quantize_file(files[source], theirs, FTYPES[type_], 2, requantize=True)
        assert ours[type_].read_bytes() == theirs.read_bytes(), type_
        theirs.unlink()


FAMILIES = ["mixtral", "qwen2-moe", "qwen2-tied", "deepseek2", "gemma2", "gpt2", "bert"]


@pytest.mark.parametrize("name", FAMILIES)
def test_other_families(name: str, tmp_path: Path) -> None:
    """Experts, tied embeddings, an encoder: nothing here knows any of them."""
    family = next(family for family in ALL_FAMILIES if family.name == name)
    golden = read_golden(family)
    tensors = {key: (dtype, shape) for key, (dtype, shape) in golden["tensors"].items()}
    folder = write_checkpoint(family, tmp_path, golden["config"], tensors)
    (source,) = run_plan(folder, ["F16"], tmp_path)
    (ours,) = run_plan(source.path, ["Q4_K_M"], tmp_path)
    theirs = tmp_path / "theirs.gguf"
    quantize_file(source.path, theirs, FTYPES["Q4_K_M"], 2)
    assert ours.path.read_bytes() == theirs.read_bytes()


def split(path: Path, folder: Path, n_parts: int) -> Path:
    """Split the file as llama.cpp's own tool does, by the gguf package. Return the first part."""
    reader = QuickReader(path)
    parts = [folder / f"split-{i + 1:05d}-of-{n_parts:05d}.gguf" for i in range(n_parts)]
    for number, part in enumerate(parts):
        writer = gguf.GGUFWriter(part, "llama")
        fields = [field for field in reader.fields.values() if not field.name.startswith("GGUF.")]
        for field in fields if number == 0 else []:
            if field.name != "general.architecture":
                kind = field.types[0]
                sub_type = field.types[-1] if kind is gguf.GGUFValueType.ARRAY else None
                writer.add_key_value(field.name, field.contents(), kind, sub_type=sub_type)
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", n_parts)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in reader.tensors[number::n_parts]:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return parts[0]


@pytest.mark.parametrize("source", ["F16", "Q8_0"])
def test_a_split_file_is_joined(source: str, files: dict[str, Path], tmp_path: Path) -> None:
    first = split(files[source], tmp_path, 3)
    (ours,) = run_plan(first, ["Q4_K_M"], tmp_path)
    theirs = tmp_path / "theirs.gguf"
    quantize_file(first, theirs, FTYPES["Q4_K_M"], 2, requantize=True)
    assert ours.path.read_bytes() == theirs.read_bytes()
    assert not [key for key in read_gguf_info(ours.path).metadata if key.startswith("split.")]


def test_metadata_is_kept_and_added_to(files: dict[str, Path]) -> None:
    extra: dict[str, Value] = {"general.quantized_by": string("someone")}
    with Checkpoint.open(files["F16"]) as checkpoint:
        (file,) = make_plan(checkpoint, ["Q4_0"], extra=extra).files
    before = read_gguf_info(files["F16"]).metadata
    assert set(file.metadata) == {*before, "general.quantized_by"}
    assert file.metadata["general.file_type"].data == FTYPES["Q4_0"]
    assert file.metadata["general.quantized_by"].data == "someone"
    assert file.metadata["llama.block_count"].data == 2


def test_how_weights_were_rounded_is_said_of_their_own_file_alone(
    files: dict[str, Path], tmp_path: Path
) -> None:
    keys = ("corral.calibration.method", "quantize.imatrix.file")
    extra: dict[str, Value] = {key: string("said") for key in keys}
    with Checkpoint.open(files["F16"]) as checkpoint:
        run(make_plan(checkpoint, ["Q8_0"], extra=extra), checkpoint.tensors, [tmp_path / "calibrated.gguf"])
    info = read_gguf_info(tmp_path / "calibrated.gguf")
    assert [info.text(key) for key in keys] == ["said", "said"]
    with Checkpoint.open(tmp_path / "calibrated.gguf") as checkpoint:
        (file,) = make_plan(checkpoint, ["Q4_0"]).files
    assert not set(keys) & set(file.metadata)


def test_a_damaged_number_is_named(files: dict[str, Path], tmp_path: Path) -> None:
    """NaN in a tensor is an error that names it, not a file."""
    info = read_gguf_info(files["F32"])
    tensor = next(tensor for tensor in info.tensors if tensor.name == "blk.0.ffn_up.weight")
    raw = bytearray(files["F32"].read_bytes())
    raw[tensor.offset : tensor.offset + 4] = struct.pack("<f", float("nan"))
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(raw)
    with pytest.raises(Exception, match=r"blk\.0\.ffn_up\.weight.*NaN"):
        run_plan(damaged, ["Q8_0"], tmp_path)
