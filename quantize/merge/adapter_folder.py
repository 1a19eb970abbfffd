"""A PEFT adapter's folder: the tensors of a base that it changes, and the changes.

PEFT's names are `base_model.model.<module>.<what>`, the module being the model's own in transformers:

    lora_A.weight, lora_B.weight              W + strength · B·A
    lora_embedding_A, lora_embedding_B        the same of an embedding, transposed
    lora_magnitude_vector                     DoRA: the norm of each output's weights
    lora_B.bias                               lora_bias: added to the bias
    weight, bias                              a whole tensor: modules_to_save, trained biases, embeddings

The adapter's own name (`lora_A.default.weight`) is in files that weren't saved by save_pretrained, and so is
`original_module`, the base's own copy of a module to save.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from models.errors import CheckpointError
from quantize.adapter.config import AdapterConfig, read_adapter_config
from quantize.adapter.layer_classes import is_conv1d
from quantize.architectures.base.architecture import Architecture
from quantize.checkpoint.json_file import read_json_object
from quantize.checkpoint.safetensors import SafetensorsSource
from quantize.checkpoint.source import TensorEntry, TensorSource
from quantize.checkpoint.torch.source import TorchSource
from quantize.merge.chunks import FLOATS, are_equal
from quantize.merge.output_matrix import OutputMatrix

CONFIG_NAME: Final = "adapter_config.json"
WEIGHTS_NAME: Final = "adapter_model.safetensors"
TORCH_NAME: Final = "adapter_model.bin"

_PREFIX: Final = "base_model.model."
_OWN = r"(?:\.[^.]+)?"
_NAME: Final = re.compile(
    r"(?P<module>.+?)\."
    rf"(?:lora_(?P<half>[AB]){_OWN}\.weight"
    rf"|lora_B(?P<bias>){_OWN}\.bias"
    rf"|lora_embedding_(?P<embedding>[AB]){_OWN}"
    rf"|lora_magnitude_vector(?P<magnitude>){_OWN}(?:\.weight)?"
    rf"|(?:base_layer\.|(?P<copy>modules_to_save){_OWN}\.)?(?P<whole>weight|bias))"
)
_ORIGINAL: Final = ".original_module."


@dataclass(frozen=True)
class LowRankPair:
    """The change ΔW = strength · B·A, or its transpose (`transposed`) for weights stored `[n_in, n_out]`.

    `a`, `b` and `magnitude` are names in the adapter. A `magnitude` [n_out] makes it DoRA.
    """

    a: str
    b: str
    strength: float
    transposed: bool
    magnitude: str | None = None


@dataclass(frozen=True)
class TensorChange:
    """An adapter's change of a tensor: it replaces it (`whole`), adds to it (`pair`, `bias`), or both.

    A `whole` embedding may have another number of rows: the vocabulary was resized.
    """

    whole: str | None = None
    pair: LowRankPair | None = None
    bias: str | None = None
    bias_strength: float = 1.0


class AdapterFolder:
    """An open adapter. `changes` are by the names of the base's tensors."""

    def __init__(
        self,
        folder: Path,
        base: Mapping[str, TensorEntry],
        conv1d: frozenset[str] = frozenset(),
        output: OutputMatrix | None = None,
        family: Architecture | None = None,
    ) -> None:
        """Read and check all of it. Raises CheckpointError: can't be read, or doesn't fit the base.

        `conv1d` are the modules whose weights are stored as columns. `output` says which tensors of the base
        are its embedding and its output matrix; `base` has both. `family` knows other names of tensors.
        """
        if not (folder / CONFIG_NAME).is_file():
            raise CheckpointError(f"{folder} has no {CONFIG_NAME}; give the folder of a PEFT adapter")
        self.folder = folder
        self.config: AdapterConfig = read_adapter_config(read_json_object(folder / CONFIG_NAME))
        self._conv1d = conv1d
        self._output = output
        self._family = family
        self.tensors = _open_weights(folder)
        try:
            self.changes: Mapping[str, TensorChange] = self._changes(base)
        except BaseException:  # half open: nobody else closes it
            self.close()
            raise

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def keeps_tied(self) -> bool:
        """True if it changes embedding and output matrix alike, or neither."""
        output = self._output
        return output is None or self.changes.get(output.embedding) == self.changes.get(output.head)

    def close(self) -> None:
        self.tensors.close()

    def shape_of(self, target: TensorEntry) -> tuple[int, ...]:
        """Return the shape of the base's tensor as this adapter makes it."""
        change = self.changes.get(target.name)
        return (
            target.shape
            if change is None or change.whole is None
            else self.tensors.entries[change.whole].shape
        )

    def _changes(self, base: Mapping[str, TensorEntry]) -> dict[str, TensorChange]:
        modules, copies = _by_module(self.tensors.entries)
        if not modules:
            raise CheckpointError(f"{self.folder} has no tensors; save it again with PEFT's save_pretrained")
        changes: dict[str, TensorChange] = {}
        own_copies: set[str] = set()
        unknown: list[str] = []
        for module, parts in modules.items():
            kinds = {"bias" if part.endswith("bias") else "weight" for part in parts}
            targets = {kind: self._find(f"{module}.{kind}", base) for kind in kinds}
            unknown += [f"{module}.{kind}" for kind, target in targets.items() if target is None]
            for kind, target in targets.items():
                if target is not None:
                    changes[target] = self._change(module, kind, parts, base[target])
                    if module in copies or self.config.is_copy(module):
                        own_copies.add(target)
        if unknown:
            more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
            raise CheckpointError(
                f"the adapter {self.name} changes {', '.join(unknown[:3])}{more}, which this model doesn't"
                " have; give an adapter made for it"
            )
        if self._output is not None and self._output.tied:
            self._share(self._output, changes, own_copies)
        self._check_rows(base, changes)
        return changes

    def _find(self, name: str, base: Mapping[str, TensorEntry]) -> str | None:
        """Return the base's tensor of that name; else the one whose name ends with it, or ends it.

        Some checkpoints leave out the model's outermost module. Else it is the one that the family knows by
        the same name. Return None if there is none, or more than one.
        """
        if name in base:
            return name
        near = [other for other in base if other.endswith(f".{name}") or name.endswith(f".{other}")]
        if not near and self._family is not None:
            known_as = self._family.tensor_name(name)
            near = [other for other in base if known_as == self._family.tensor_name(other) is not None]
        return near[0] if len(near) == 1 else None

    def _share(self, output: OutputMatrix, changes: dict[str, TensorChange], own_copies: set[str]) -> None:
        """Give a change of one half of a tied model to the other, where PEFT changes both.

        A tensor that is no copy of the adapter's own is the base's parameter, which both halves are. What is
        added to one half works on that half alone, unless the adapter ties weights.
        """
        names = (output.embedding, output.head)
        of_embedding, of_head = (changes.get(name) for name in names)
        if self.config.ties_weights:
            change = of_embedding or of_head
            if change is not None:
                changes.update(dict.fromkeys(names, change))
            return
        wholes = [None if change is None else change.whole for change in (of_embedding, of_head)]
        for name, own, other in zip(names, wholes, reversed(wholes), strict=True):
            there = names[1] if name == names[0] else names[0]
            if own is None and other is not None and there not in own_copies:
                changes[name] = replace(changes.get(name, TensorChange()), whole=other)
        if wholes[0] is not None and wholes[1] is not None and are_equal(self.tensors, wholes[0], wholes[1]):
            changes[output.head] = replace(changes[output.head], whole=wholes[0])

    def _check_rows(self, base: Mapping[str, TensorEntry], changes: Mapping[str, TensorChange]) -> None:
        """Check that both halves have a row for each token. Raises CheckpointError."""
        if self._output is None:
            return
        rows = {}
        for name in (self._output.embedding, self._output.head):
            change = changes.get(name)
            entry = (
                base[name] if change is None or change.whole is None else self.tensors.entries[change.whole]
            )
            rows[name] = entry.shape[0]
        if len(set(rows.values())) > 1:
            found = " and ".join(f"{n} for {name}" for name, n in rows.items())
            raise CheckpointError(
                f"with the adapter {self.name} the vocabulary has {found}; save it with both embeddings"
                " (save_embedding_layers=True), or with the vocabulary as it is"
            )

    def _change(
        self, module: str, kind: str, parts: Mapping[str, TensorEntry], target: TensorEntry
    ) -> TensorChange:
        whole = parts.get(f"whole {kind}")
        if whole is not None and whole.shape != target.shape and not self._is_resized(whole, target):
            raise self._misfit(module, [whole], target)
        name = None if whole is None else whole.name
        if kind == "weight":
            return TensorChange(name, self._pair(module, parts, target))
        added = parts.get("lora_B's bias")
        if added is None:
            return TensorChange(name)
        if added.shape != target.shape or "lora_A" not in parts:
            raise self._misfit(module, [added], target)
        strength = self.config.strength(module, parts["lora_A"].shape[0])
        return TensorChange(name, bias=added.name, bias_strength=strength)

    def _is_resized(self, whole: TensorEntry, target: TensorEntry) -> bool:
        """True for an embedding or output matrix with another number of rows."""
        output = self._output
        if output is None or target.name not in (output.embedding, output.head):
            return False
        return len(whole.shape) == 2 and whole.shape[0] > 0 and whole.shape[1:] == target.shape[1:]

    def _pair(self, module: str, parts: Mapping[str, TensorEntry], target: TensorEntry) -> LowRankPair | None:
        halves = [part for part in parts if part.startswith("lora_") and not part.endswith("bias")]
        if not halves:
            return None
        embedding = "lora_embedding_A" in parts or "lora_embedding_B" in parts
        names = ("lora_embedding_A", "lora_embedding_B") if embedding else ("lora_A", "lora_B")
        if any(name not in parts for name in names):
            raise CheckpointError(
                f"the adapter {self.name} has only {halves[0]} of {module}; save it again with PEFT"
            )
        a, b = (parts[name] for name in names)
        transposed = embedding or is_conv1d(module, self._conv1d)
        stored = parts.get("whole weight", target).shape
        shape = stored[::-1] if transposed else stored
        rank = a.shape[0] if len(a.shape) == 2 else 0
        if rank == 0 or len(shape) != 2 or a.shape != (rank, shape[1]) or b.shape != (shape[0], rank):
            raise self._misfit(module, [a, b], target)
        magnitude = parts.get("lora_magnitude_vector")
        if magnitude is not None and magnitude.n_elements != shape[0]:
            raise self._misfit(module, [magnitude], target)
        strength = self.config.strength(module, rank)
        return LowRankPair(
            a.name, b.name, strength, transposed, None if magnitude is None else magnitude.name
        )

    def _misfit(self, module: str, entries: list[TensorEntry], target: TensorEntry) -> CheckpointError:
        shapes = " and ".join(str(list(entry.shape)) for entry in entries)
        return CheckpointError(
            f"the adapter {self.name} has {shapes} for {module}, and the model's {target.name} has"
            f" {list(target.shape)}; give an adapter made for this model (with its vocabulary as it is)"
        )


def _open_weights(folder: Path) -> TensorSource:
    if (folder / WEIGHTS_NAME).is_file():
        return SafetensorsSource([folder / WEIGHTS_NAME])
    if (folder / TORCH_NAME).is_file():
        return TorchSource([folder / TORCH_NAME])
    raise CheckpointError(f"{folder} has no {WEIGHTS_NAME}; save the adapter with PEFT's save_pretrained")


def _by_module(entries: Mapping[str, TensorEntry]) -> tuple[dict[str, dict[str, TensorEntry]], set[str]]:
    """Return the adapter's tensors by module and by kind, and the modules named as copies.

    Raises CheckpointError: one of no known kind.
    """
    modules: dict[str, dict[str, TensorEntry]] = {}
    copies: set[str] = set()
    for name, entry in entries.items():
        if _ORIGINAL in name:
            continue
        match = _NAME.fullmatch(name.removeprefix(_PREFIX))
        if match is None:
            raise CheckpointError(
                f"the adapter's tensor {name} is of a kind that can't be merged here; merge it with PEFT"
            )
        if entry.dtype.name not in FLOATS:
            raise CheckpointError(f"the adapter's tensor {name} is {entry.dtype.name}; it must be of floats")
        parts = modules.setdefault(match["module"], {})
        kind = _kind(match)
        if kind in parts:
            raise CheckpointError(f"the adapter has two {kind} for {match['module']}; save one adapter alone")
        parts[kind] = entry
        if match["copy"] is not None:
            copies.add(match["module"])
    return modules, copies


def _kind(match: re.Match[str]) -> str:
    if match["half"] is not None:
        return f"lora_{match['half']}"
    if match["bias"] is not None:
        return "lora_B's bias"
    if match["embedding"] is not None:
        return f"lora_embedding_{match['embedding']}"
    return f"whole {match['whole']}" if match["whole"] is not None else "lora_magnitude_vector"
