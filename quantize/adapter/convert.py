"""The conversion of a PEFT LoRA adapter into one GGUF file for llama.cpp.

    adapter_config.json, adapter_model.safetensors → adapter.gguf
    W' = W + strength · B·A          A [rank, n_in], B [n_out, rank]

Names and row orders are the architecture's own, as for its weights: what is done to the rows of W is done to
the rows of B. One GGUF file has one alpha, from which llama.cpp computes strength = alpha / rank; where PEFT
says something else (rsLoRA, alpha_pattern), the difference goes into alpha or into B. A and B of weights that
are stored `[n_in, n_out]` (GPT-2's Conv1D) stay as they are: GGUF has all weights as rows of outputs.

No torch and no llama.cpp. `python -m quantize.adapter.convert FOLDER BASE.gguf OUT.gguf` is the same as a
process of its own: the API process, which may not import this package, has adapters converted so.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError, CorralError, DiskFull, StoreError
from models.gguf.adapter_info import EMBEDDING, OUTPUT, SUFFIX_A, SUFFIX_B, AdapterInfo, read_adapter_info
from models.gguf.info import GGUFInfo, read_gguf_info
from models.machine.child_process import EXIT_DISK_FULL, EXIT_UNWRITABLE
from models.store.atomic_write import disk_errors, fsync_folder
from quantize.adapter.base_model import families_of_gguf
from quantize.adapter.config import AdapterConfig, read_adapter_config, refuse_what_gguf_lacks
from quantize.architectures.base.architecture import Architecture
from quantize.architectures.base.rules import TensorRule
from quantize.architectures.base.transform import RotaryHeads, Same, Transpose
from quantize.checkpoint.json_file import read_json_object
from quantize.checkpoint.safetensors import SafetensorsSource
from quantize.checkpoint.source import Rows, TensorEntry
from quantize.gguf.header import Metadata, TensorInfo, aligned, encode_header, float32, string, uint32

CONFIG_NAME: Final = "adapter_config.json"
WEIGHTS_NAME: Final = "adapter_model.safetensors"
_F32: Final = 0
_HEADS: Final = ("lm_head", "embed_out", "output_layer", "output")
_MERGE: Final = "merge it into its base while quantizing (corral quantize --lora)"
_TENSOR: Final = re.compile(
    r"(?:base_model\.model\.)?(?P<module>.+)\.lora_"
    r"(?:(?P<half>[AB])(?:\.[^.]+)?\.weight|embedding_(?P<embedding>[AB])(?:\.[^.]+)?)"
)


@dataclass(frozen=True)
class _Pair:
    """One changed tensor: its halves, and the rule by which its base's tensor was made."""

    module: str
    rule: TensorRule
    a: TensorEntry
    b: TensorEntry

    @property
    def is_embedding(self) -> bool:
        return self.rule.name == EMBEDDING

    @property
    def rank(self) -> int:
        return self.a.shape[0]


def is_peft_adapter(path: Path) -> bool:
    return (path / CONFIG_NAME).is_file()


def convert_adapter(folder: Path, base: Path, out: Path) -> AdapterInfo:
    """Write `folder`'s adapter for the model in `base` to `out`, which appears once it is whole and checked.

    It is in F32: with F16 tensors llama.cpp would round the activations to F16 too. Raises CheckpointError
    for an adapter that can't be read or expressed, InvalidGGUF for one that doesn't fit the base, StoreError
    and DiskFull.
    """
    fields = read_json_object(_config_path(folder))
    config = read_adapter_config(fields)
    refuse_what_gguf_lacks(fields)
    base_info = read_gguf_info(base)
    if not (folder / WEIGHTS_NAME).is_file():
        raise CheckpointError(
            f"{folder} has no {WEIGHTS_NAME}; save the adapter with PEFT's save_pretrained, which writes it"
        )
    source = SafetensorsSource([folder / WEIGHTS_NAME])
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(8)}.part")
    try:
        tied = not any(tensor.name == OUTPUT for tensor in base_info.tensors)
        pairs = _pairs(source.entries, families_of_gguf(base_info), tied)
        with disk_errors("write the adapter", out.parent):
            out.parent.mkdir(parents=True, exist_ok=True)
            _write(temporary, _metadata(folder, config, base_info), source, pairs, config)
            info = read_adapter_info(temporary, base_info)
            temporary.replace(out)
            fsync_folder(out.parent)
    finally:
        source.close()
        temporary.unlink(missing_ok=True)
    return AdapterInfo(**{**vars(info), "path": out})


def _config_path(folder: Path) -> Path:
    if not is_peft_adapter(folder):
        raise CheckpointError(
            f"{folder} has no {CONFIG_NAME}; give the folder of a PEFT adapter, or a GGUF file"
        )
    return folder / CONFIG_NAME


# --- the tensors ------------------------------------------------------------------------------------------


def _pairs(
    entries: Mapping[str, TensorEntry], families: Sequence[Architecture], tied: bool = False
) -> list[_Pair]:
    """Return the adapter's pairs in the order of the model's tensors. A `tied` model has no output matrix.

    The model is of that one of `families` which knows most of the adapter's modules.
    """
    halves: dict[str, dict[str, TensorEntry]] = {}
    for name, entry in entries.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise CheckpointError(
                f"the adapter's tensor {name} is no lora_A or lora_B, and GGUF adapters hold nothing else;"
                f" {_MERGE}"
            )
        if entry.dtype.name not in ("float32", "float16", "bfloat16") or len(entry.shape) != 2:
            raise CheckpointError(
                f"the adapter's tensor {name} is {entry.dtype.name} {list(entry.shape)};"
                " it must be a matrix of floats"
            )
        pair = halves.setdefault(match["module"], {})
        if (half := match["half"] or match["embedding"]) in pair:
            raise CheckpointError(
                f"the adapter has two lora_{half} for {match['module']}; save one adapter alone"
            )
        pair[half] = entry
    found = [_rules_of(family, halves) for family in families]
    known = max(found, key=len)  # the first of those that know as many
    order = {rule.name: i for i, rule in enumerate(families[found.index(known)].tensor_rules())}
    pairs = [_pair(module, pair, known.get(module), tied) for module, pair in halves.items()]
    if not pairs:
        raise CheckpointError("the adapter has no tensors; save it again with PEFT's save_pretrained")
    modules: dict[str, str] = {}
    for one in pairs:
        other = modules.setdefault(one.rule.name, one.module)
        if other != one.module:
            raise CheckpointError(
                f"the adapter changes {other} and {one.module}, which are one tensor; save one adapter alone"
            )
    return sorted(pairs, key=lambda pair: order[pair.rule.name])


def _rules_of(family: Architecture, modules: Iterable[str]) -> dict[str, TensorRule]:
    """Return the rules of the modules' weights, as far as a family has them, by whatever name it knows."""
    by_source = {source: rule for rule in family.tensor_rules() for source in rule.sources}
    names = {module: family.tensor_name(f"{module}.weight") for module in modules}
    return {module: by_source[name] for module, name in names.items() if name in by_source}


def _pair(module: str, halves: Mapping[str, TensorEntry], rule: TensorRule | None, tied: bool) -> _Pair:
    if len(halves) != 2:
        raise CheckpointError(f"the adapter has only lora_{next(iter(halves))} of {module}; save it again")
    changes_output = module.rpartition(".")[2] in _HEADS if rule is None else rule.name in (EMBEDDING, OUTPUT)
    if tied and changes_output:
        raise CheckpointError(
            f"the adapter changes {module}, and this model's output matrix is its embedding (tied): a GGUF"
            f" adapter can't change one of them alone; {_MERGE}"
        )
    if rule is None:
        raise CheckpointError(
            f"the adapter changes {module}, which this model doesn't have; give an adapter made for it"
        )
    if len(rule.sources) != 1 or not isinstance(rule.transform, Same | RotaryHeads | Transpose):
        raise CheckpointError(
            f"the adapter changes {module}, whose rows can't be told apart in GGUF; {_MERGE}"
        )
    pair = _Pair(module, rule, halves["A"], halves["B"])
    n_out, n_in = rule.shape[::-1] if pair.is_embedding else rule.shape
    rank = pair.rank
    if rank == 0 or pair.a.shape != (rank, n_in) or pair.b.shape != (n_out, rank):
        raise CheckpointError(
            f"the adapter's pair for {module} has the shapes {list(pair.a.shape)} and {list(pair.b.shape)},"
            f" and the model's tensor has {list(rule.shape)}; give an adapter made for this model"
        )
    return pair


# --- the file ---------------------------------------------------------------------------------------------


def _metadata(folder: Path, config: AdapterConfig, base: GGUFInfo) -> Metadata:
    assert base.architecture is not None
    keys: Metadata = {
        "general.architecture": string(base.architecture),
        "general.type": string("adapter"),
        "adapter.type": string("lora"),
        "adapter.lora.alpha": float32(config.file_alpha),
        "general.name": string(folder.name),
        "general.quantization_version": uint32(2),
    }
    if config.base_model is not None:
        keys["general.base_model.count"] = uint32(1)
        keys["general.base_model.0.name"] = string(config.base_model.rsplit("/", 1)[-1])
    return keys


def _write(
    path: Path, metadata: Metadata, source: SafetensorsSource, pairs: Sequence[_Pair], config: AdapterConfig
) -> None:
    table: list[TensorInfo] = []
    offset = 0
    for pair in pairs:
        for entry, suffix in ((pair.a, SUFFIX_A), (pair.b, SUFFIX_B)):
            shape = entry.shape[::-1] if pair.is_embedding and entry is pair.a else entry.shape
            table.append(TensorInfo(pair.rule.name + suffix, shape[::-1], _F32, offset))
            offset += aligned(entry.n_elements * 4)
    with path.open("xb") as file:
        file.write(encode_header(metadata, table))
        for pair in pairs:
            for entry in (pair.a, pair.b):
                data = _values(pair, entry, source, config)
                if not np.isfinite(data).all():
                    raise CheckpointError(
                        f"the adapter's tensor {entry.name} has values that are no finite numbers;"
                        " its training failed, or its file is damaged"
                    )
                raw = data.tobytes()
                file.write(raw.ljust(aligned(len(raw)), b"\0"))
        file.flush()
        os.fsync(file.fileno())


def _values(
    pair: _Pair, entry: TensorEntry, source: SafetensorsSource, config: AdapterConfig
) -> npt.NDArray[np.float32]:
    """Return a half as the file has it: rows first."""
    rows: Rows
    if entry is pair.a:
        rows = source.rows(entry.name, 0, entry.shape[0])
        rows = rows.T if pair.is_embedding else rows
    else:
        transform = Same() if isinstance(pair.rule.transform, Transpose) else pair.rule.transform
        rows = transform.read(source, (entry.name,), 0, entry.shape[0])
    values = np.ascontiguousarray(rows, dtype=np.float32)
    correction = config.correction(pair.module, pair.rank) if entry is pair.b else 1.0
    return values if correction == 1.0 else values * np.float32(correction)


def main(arguments: Sequence[str]) -> int:
    """Run the process: one line on stderr, and status 1 for an adapter that can't be converted.

    The disk's errors have statuses of their own.
    """
    if len(arguments) != 3:
        sys.stderr.write("usage: python -m quantize.adapter.convert FOLDER BASE.gguf OUT.gguf\n")
        return 2
    folder, base, out = map(Path, arguments)
    try:
        convert_adapter(folder, base, out)
    except CorralError as error:
        sys.stderr.write(f"{error.message}\n")
        if isinstance(error, StoreError):
            return EXIT_DISK_FULL if isinstance(error, DiskFull) else EXIT_UNWRITABLE
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
