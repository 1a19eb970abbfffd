"""BitNet: weights of -1, 0 and 1, four to a byte, with one scale.

X.weight        uint8 [n_out / 4, n_in]   bits 2k and 2k+1 of a row hold row k · n_out / 4 + row, plus one
X.weight_scale  [1]

weight = number / weight_scale            number · weight_scale with the linear_class autobitlinear
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError
from quantize.checkpoint.quantized.dequantize import FLOATS, contradiction, require, setting
from quantize.checkpoint.source import TensorEntry, TensorSource

PER_BYTE: Final = 4
_FORM: Final = "BitNet"


@dataclass(frozen=True)
class BitNetLayer:
    """One linear layer."""

    name: str
    shape: tuple[int, int]
    scale: str
    multiplies: bool

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.name, self.scale)

    def rows(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        step = self.shape[0] // PER_BYTE
        parts: list[npt.NDArray[np.float32]] = []
        for place in range(start // step, (stop - 1) // step + 1):
            first, last = max(start - place * step, 0), min(stop - place * step, step)
            packed = source.rows(self.name, first, last)
            parts.append(((packed >> np.uint8(2 * place)) & np.uint8(3)).astype(np.float32) - np.float32(1))
        values = np.concatenate(parts) if len(parts) > 1 else parts[0]
        scale = np.float32(source.rows(self.scale, 0, 1).astype(np.float32).reshape(-1)[0])
        return values * scale if self.multiplies else values / scale


def bitnet_layers(entries: Mapping[str, TensorEntry], settings: Mapping[str, Any]) -> list[BitNetLayer]:
    """Return every packed weight as a layer. Raises CheckpointError: tensors that contradict each other."""
    kind = setting(settings, "linear_class", (str,), "bitlinear").lower()
    if kind not in ("bitlinear", "autobitlinear") or setting(settings, "use_rms_norm", (bool,), False):
        raise CheckpointError(
            f"the checkpoint is BitNet's with the linear_class {kind[:40]} or use_rms_norm; only bitlinear"
            " and autobitlinear without norms of their own can be read"
        )
    layers = []
    for name, entry in entries.items():
        if not name.endswith(".weight") or entry.dtype.name != "uint8":
            continue
        scale = f"{name}_scale"
        if len(entry.shape) != 2:
            raise contradiction(name, entry, "a matrix", _FORM)
        require(entries, scale, entries[scale].shape if scale in entries else (1,), FLOATS, _FORM)
        if entries[scale].n_elements != 1:
            raise contradiction(scale, entries[scale], "one number", _FORM)
        shape = (entry.shape[0] * PER_BYTE, entry.shape[1])
        layers.append(BitNetLayer(name, shape, scale, kind == "autobitlinear"))
    return layers
