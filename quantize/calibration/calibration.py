"""`Calibration`: what a pass rounds by, the factors of a model's moments, made as tensors need them."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import asdict
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import QuantizationError
from models.llamacpp.quantization.ggml_types import type_name
from quantize.calibration.factor import DAMPING, SHRINKAGE, Factor, asked_shrinkage, factorize
from quantize.calibration.forms import form_of
from quantize.calibration.memory import FACTORS_KEPT
from quantize.calibration.rounding import NORMAL_EFFORT, Bytes, Effort, Rounder
from quantize.gguf.header import Metadata, float32, string, uint32
from quantize.imatrix.matrix import ImportanceMatrix
from quantize.kernels.compiler import KernelCompiler
from quantize.moments.file import MomentFile
from quantize.moments.layout import MomentInfo
from quantize.moments.moments import ENOUGH_FOR_CORRELATIONS, Moments

Floats = npt.NDArray[np.float32]

SINK_WEIGHT: Final = 0.5
"""A window's first token counts so much among the inputs of keys and values: attention rests on it, and every
later token adds its value, while it is one row of a window's.
"""

_READS_SINK: Final = re.compile(r"\.attn_(k|v|kv|qkv)[_.]")


class FactorKey(NamedTuple):
    """A factor: of an input, by the first weight that it met, and an expert's number. `sink`: with the first
    tokens counted as attention counts them.
    """

    weight: str
    matrix: int
    sink: bool


class _Making:
    """A factor that one thread makes while others wait for it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.is_made = False
        self.factor: Factor | None = None
        self.reason = ""


class Calibration:
    """The rounding of one job's tensors. Thread-safe."""

    def __init__(
        self,
        moments: MomentFile,
        kernels: KernelCompiler,
        *,
        effort: Effort = NORMAL_EFFORT,
        shrinkage: float = SHRINKAGE,
        damping: float = DAMPING,
        sink_weight: float = SINK_WEIGHT,
    ) -> None:
        """Make no factor yet. Raises QuantizationError where the kernels can't be compiled."""
        self._moments = moments
        self._rounder = Rounder(kernels.quantize_rows, kernels.feedback(), effort)
        self._shrinkage, self._damping, self._sink_weight = shrinkage, damping, sink_weight
        self._importance = moments.importance()
        self._lock = threading.Lock()
        self._kept: OrderedDict[FactorKey, _Making] = OrderedDict()
        self._excluded: dict[tuple[str, int | None], str] = {}
        self._lacking: dict[str, dict[int, str]] = {}

    @property
    def label(self) -> str:
        """The name of the text that the moments are of."""
        return self._moments.info.label

    @property
    def origin(self) -> MomentInfo:
        """The text and the 16-bit model that the moments are of."""
        return self._moments.info

    @property
    def effort(self) -> Effort:
        """The amount of trying."""
        return self._rounder.effort

    @property
    def plain(self) -> dict[str, str]:
        """The tensors so far that are rounded plainly, or some of whose experts are, and why.

        One that is in some type alone is called `NAME as TYPE`.
        """
        with self._lock:
            said = {name: _in_words(reasons) for name, reasons in self._lacking.items()}
            return said | {_label(*place): reason for place, reason in self._excluded.items()}

    @property
    def rounder(self) -> Rounder:
        """The rounding of rows by a factor."""
        return self._rounder

    def importance(self) -> ImportanceMatrix:
        """Return the moments' diagonal, by which all is encoded that isn't compensated."""
        return self._importance

    def takes(self, ggml_type: int, name: str = "") -> bool:
        """Return whether levels of a type's blocks can be chosen here, and the tensor isn't excluded."""
        with self._lock:
            is_excluded = any((name, kind) in self._excluded for kind in (None, ggml_type))
        return form_of(ggml_type) is not None and not is_excluded

    def exclude(self, names: Iterable[str], reason: str, ggml_type: int | None = None) -> None:
        """Round these tensors plainly from now on, where they are of the type; None: of any."""
        with self._lock:
            self._excluded.update({(name, ggml_type): reason for name in names})

    def factor(self, name: str, ne: tuple[int, ...], matrix: int = 0) -> Factor | None:
        """Return the factor of a tensor's matrix, shape `ne` (row length first); None: it is rounded plainly.

        The first thread that asks makes it, which takes seconds for wide inputs; others wait. Raises
        QuantizationError: the moments are another model's.
        """
        key = self.key(name, matrix)
        with self._lock:
            making = self._kept.get(key)
            if making is None:
                making = self._kept[key] = _Making()
            self._kept.move_to_end(key)
            if len(self._kept) > FACTORS_KEPT:
                self._kept.popitem(last=False)
        with making.lock:
            if not making.is_made:
                making.factor, making.reason = self._make(key, ne[0])
                making.is_made = True
        if making.factor is None:
            with self._lock:
                self._lacking.setdefault(name, {})[matrix] = making.reason
        return making.factor

    def forget_factors(self) -> None:
        """Free the factors that are kept; they are made again for whoever asks."""
        with self._lock:
            self._kept.clear()

    def key(self, name: str, matrix: int = 0) -> FactorKey:
        """Return which factor a tensor's matrix is rounded by."""
        return FactorKey(self._moments.inputs.get(name, name), matrix, _READS_SINK.search(name) is not None)

    def round_rows(self, ggml_type: int, rows: Floats, factor: Factor, out: Bytes) -> None:
        """Encode `rows` [n_rows, n] f32 into `out`, as `Rounder.round_rows` does."""
        self._rounder.round_rows(ggml_type, rows, factor, out)

    def metadata(self) -> Metadata:
        """Return the keys with which a file says how it was made."""
        effort, info = self.effort, self._moments.info
        return {
            "corral.calibration.method": string("gptq"),
            "corral.calibration.text": string(info.label),
            "corral.calibration.tokens": uint32(info.summed_tokens),
            "corral.calibration.moments": string(_digest(info)),
            "corral.calibration.shrinkage": float32(self._shrinkage),
            "corral.calibration.damping": float32(self._damping),
            "corral.calibration.sink_weight": float32(self._sink_weight),
            "corral.calibration.searches": string(",".join(effort.searches)),
            "corral.calibration.sweeps": uint32(effort.sweeps),
        }

    def _make(self, key: FactorKey, width: int) -> tuple[Factor | None, str]:
        """Return the factor; or None, and the reason in words."""
        if key.weight not in self._moments.inputs:
            return (
                None,
                "the text's moments have no input of it: it is a table, or is multiplied with nothing",
            )
        moments = self._moments.moments(key.weight, key.matrix)
        if moments is None or moments.n_rows < ENOUGH_FOR_CORRELATIONS:
            n_rows = 0 if moments is None else moments.n_rows
            return None, f"the text brought it {n_rows} rows, and {ENOUGH_FOR_CORRELATIONS} are needed"
        if len(moments.total) != width:
            raise QuantizationError(
                f"the moments of {key.weight} are of {len(moments.total)} columns and the tensor has "
                f"{width}: they are another model's"
            )
        mean = moments.total / np.float32(moments.n_rows)
        shrinkage = asked_shrinkage(mean, moments.held_out, self._shrinkage)
        factor = factorize(
            self._with_sink(mean, moments) if key.sink else mean,
            shrinkage,
            self._damping,
            importance=np.diagonal(mean),
            held_out=moments.held_out,
        )
        if factor is None:
            return None, "its moments are no moments: not finite, all zero, or far from positive definite"
        return factor, ""

    def _with_sink(self, mean: Floats, moments: Moments) -> Floats:
        first = moments.first
        if not len(first):
            return mean
        return mean + np.float32(self._sink_weight / len(first)) * (first.T @ first)


def _digest(info: MomentInfo) -> str:
    """Return a hash of what moments were made from: equal ones, equal moments."""
    return hashlib.sha256(json.dumps(asdict(info), sort_keys=True).encode()).hexdigest()


def _label(name: str, ggml_type: int | None) -> str:
    return name if ggml_type is None else f"{name} as {type_name(ggml_type)}"


def _in_words(reasons: dict[int, str]) -> str:
    """Return why matrices of a tensor, by number, are rounded plainly."""
    if set(reasons) == {0}:
        return reasons[0]
    experts = ", ".join(map(str, sorted(reasons)))
    return f"experts {experts}: {reasons[min(reasons)]}"
