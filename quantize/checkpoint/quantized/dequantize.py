"""A quantized checkpoint seen as one of floats: a TensorSource around the raw one.

The tensors of a quantized layer disappear and its `….weight` [n_out, n_in] takes their place, in F32, made
whenever its rows are requested. Everything else (embeddings, norms, biases) passes through. Each form (gptq,
awq, fp8, compressed_tensors) makes its layers in its own way.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from models.errors import CheckpointError
from quantize.checkpoint.source import BlockSource, Rows, TensorEntry, TensorSource

FLOAT32: Final = np.dtype(np.float32)
FLOATS: Final = ("float32", "float16", "bfloat16")


class Layer(Protocol):
    """A weight that is made from several tensors of the raw source."""

    @property
    def name(self) -> str:
        """The name of the weight in an unquantized checkpoint, `….weight`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's shape: [n_out, n_in], of fused experts [n_experts, n_out, n_in]."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the raw tensors, which are hidden."""

    def rows(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Return rows [start, stop) of the weight, made from the raw source. Thread-safe.

        Raises CheckpointError.
        """


@runtime_checkable
class BlockLayer(Layer, Protocol):
    """A layer whose numbers ggml has blocks for, so that they can be kept as they are."""

    @property
    def ggml_type(self) -> int:
        """The type of the blocks."""

    def raw_rows(self, source: TensorSource, start: int, stop: int) -> npt.NDArray[np.uint8]:
        """Return rows [start, stop) of the weight as bytes of blocks. Thread-safe. Raises CheckpointError."""


@runtime_checkable
class ScaledBlockLayer(BlockLayer, Protocol):
    """A layer in blocks all of whose numbers have a further factor."""

    def second_scale(self, source: TensorSource) -> np.float32:
        """Return the factor. Raises CheckpointError."""


class DequantizedSource(BlockSource):
    """The tensors of `raw` with `layers` in place of their parts, and without `unused` ones. Owns `raw`."""

    def __init__(self, raw: TensorSource, layers: Sequence[Layer], unused: Collection[str] = ()) -> None:
        """Arrange the names. Raises CheckpointError when a layer's weight is there as well."""
        self._raw = raw
        self._layers = {layer.name: layer for layer in layers}
        layer_at = {layer.parts[0]: layer for layer in layers}
        hidden = {part for layer in layers for part in layer.parts} | set(unused)
        entries: dict[str, TensorEntry] = {}
        for name, entry in raw.entries.items():
            if name in layer_at:
                layer = layer_at[name]
                entries[layer.name] = TensorEntry(layer.name, layer.shape, FLOAT32)
            if name not in hidden:
                if name in self._layers:
                    raise CheckpointError(
                        f"the checkpoint has {name} twice, as it is and quantized; download it again"
                    )
                entries[name] = entry
        self._entries = entries
        self._second_scales: dict[str, np.float32] = {}

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        return self._entries

    @property
    def memory_bytes(self) -> int:
        return self._raw.memory_bytes

    @property
    def is_stream(self) -> bool:
        return self._raw.is_stream

    def expect(self, names: Sequence[str]) -> None:
        parts = (self._layers[name].parts if name in self._layers else (name,) for name in names)
        self._raw.expect([part for group in parts for part in group])

    def rows(self, name: str, start: int, stop: int) -> Rows:
        layer = self._layers.get(name)
        if layer is None:
            return self._raw.rows(name, start, stop)
        assert 0 <= start <= stop <= layer.shape[0], f"rows {start}..{stop} of {layer.shape[0]}"
        if start == stop:
            return np.empty((0, *layer.shape[1:]), np.float32)
        with np.errstate(all="ignore"):  # whoever encodes them refuses infinite numbers, and names the tensor
            return layer.rows(self._raw, start, stop)

    def ggml_type(self, name: str) -> int | None:
        layer = self._layers.get(name)
        return layer.ggml_type if isinstance(layer, BlockLayer) else None

    def raw_rows(self, name: str, start: int, stop: int) -> npt.NDArray[np.uint8]:
        layer = self._layers[name]
        assert isinstance(layer, BlockLayer), f"{name} has no blocks"
        self.second_scale(name)  # while a stream is there
        return layer.raw_rows(self._raw, start, stop)

    def second_scale(self, name: str) -> np.float32:
        layer = self._layers[name]
        if not isinstance(layer, ScaledBlockLayer):
            return super().second_scale(name)
        found = self._second_scales.get(name)
        if found is None:
            with np.errstate(all="ignore"):  # as for rows
                found = self._second_scales[name] = layer.second_scale(self._raw)
        return found

    def close(self) -> None:
        self._raw.close()


def require(
    entries: Mapping[str, TensorEntry], name: str, shape: tuple[int, ...], dtypes: Sequence[str], form: str
) -> None:
    """Check a tensor.

    Raises CheckpointError, naming it, unless it is there with that shape and one of `dtypes`.
    """
    entry = entries.get(name)
    if entry is None:
        raise CheckpointError(f"the checkpoint lacks {name}, which {form} needs; download it again")
    if entry.shape != shape:
        raise contradiction(name, entry, f"{list(shape)}", form)
    if entry.dtype.name not in dtypes:
        raise contradiction(name, entry, " or ".join(dtypes), form)


def contradiction(name: str, entry: TensorEntry, expected: str, form: str) -> CheckpointError:
    """Return the error for a tensor that isn't what the configuration says."""
    return CheckpointError(
        f"tensor {name} is {entry.dtype.name} {list(entry.shape)}, and {form} calls for {expected}; "
        "weights and quantization_config don't belong together"
    )


def setting(settings: Mapping[str, Any], name: str, kinds: tuple[type, ...], default: Any) -> Any:
    """Return a field of the quantization_config; null counts as absent.

    Raises CheckpointError on another type.
    """
    value = settings.get(name)
    if value is None:
        return default
    if type(value) not in kinds:
        raise CheckpointError(
            f"{name} in the quantization_config is {str(value)[:60]!r}; "
            f"it must be {' or '.join(kind.__name__ for kind in kinds)}"
        )
    return value
