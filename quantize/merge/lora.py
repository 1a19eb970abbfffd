"""A checkpoint with PEFT adapters added to it, as a TensorSource."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from models.errors import CheckpointError
from quantize.adapter.layer_classes import conv1d_modules
from quantize.checkpoint.source import Rows, TensorEntry, TensorSource
from quantize.merge.adapter_folder import AdapterFolder, TensorChange
from quantize.merge.chunks import FLOATS, Floats, Once, as_float32, row_ranges
from quantize.merge.low_rank import Factors, column_norms, read_factors, row_norms, scale_to
from quantize.merge.output_matrix import TIED_FIELD, family_of, output_matrix_of, with_both_names

FACTORS_KEPT: Final = 8
"""At most this many pairs of matrices stay in memory: the pipeline is in one or two tensors at a time."""

_FLOAT32: Final = np.dtype(np.float32)


class LoraSource(TensorSource):
    """The base's tensors with each adapter's change added, times its weight: W + Σ weight·(W_adapter - W).

    With one adapter of weight 1 that is PEFT's `merge_and_unload`; with several, what PEFT computes with all
    of them active. Changed tensors are f32, whatever the base's are: rounded to bfloat16, W + ΔW loses much
    of a small ΔW. Owns `base`.

    A tied model of which an adapter changes one half alone gets an output matrix of its own, as the model has
    it that PEFT runs with the adapter. (`merge_and_unload` adds the change to both halves, and warns of it.)
    """

    def __init__(
        self,
        base: TensorSource,
        adapters: Sequence[tuple[Path, float]],
        config: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Open the adapters of a base with this config.json.

        Raises CheckpointError for one that can't be read, or doesn't fit.
        """
        self._output = output_matrix_of(config, base)
        self._config = config
        self.base = with_both_names(base, self._output)
        self.adapters: list[tuple[AdapterFolder, float]] = []
        self._factors: Once[tuple[int, str], Factors] = Once(keep=FACTORS_KEPT)
        self._norms: Once[tuple[int, str], Floats] = Once()
        try:
            conv1d, family = conv1d_modules(config), family_of(config)
            for folder, weight in adapters:
                adapter = AdapterFolder(folder, self.base.entries, conv1d, self._output, family)
                self.adapters.append((adapter, weight))
            self._changed = self._changed_entries()
        except BaseException:  # half open: nobody else closes it
            self.close()
            raise
        self._entries = MappingProxyType(self._all_entries(base.entries))

    @property
    def config(self) -> dict[str, Any]:
        """The config.json of the result: with its vocabulary's size, and tied only if it still is."""
        config = dict(self._config)
        output = self._output
        if output is None:
            return config
        if not output.tied or not self._keeps_tied:
            config[TIED_FIELD] = False
        rows = self._changed[output.embedding].shape[0] if output.embedding in self._changed else None
        if rows is not None and rows != self.base.entries[output.embedding].shape[0]:
            config["vocab_size"] = rows
        return config

    @property
    def tokenizer_folder(self) -> Path | None:
        """The folder of an adapter that brings embeddings of its own, and so says what the tokens are."""
        output = self._output
        for adapter, _ in self.adapters:
            for name in () if output is None else (output.embedding, output.head):
                change = adapter.changes.get(name)
                if change is not None and change.whole is not None:
                    return adapter.folder
        return None

    @property
    def working_itemsize(self) -> int:
        return 16

    @property
    def memory_bytes(self) -> int:
        """The largest factors that may be held at once, and what the base holds."""
        sizes = sorted(
            (
                4 * sum(adapter.tensors.entries[half].n_elements for half in (change.pair.a, change.pair.b))
                for adapter, _ in self.adapters
                for change in adapter.changes.values()
                if change.pair is not None
            ),
            reverse=True,
        )
        return 2 * sum(sizes[:FACTORS_KEPT]) + self.base.memory_bytes

    @property
    def is_stream(self) -> bool:
        return self.base.is_stream

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        return self._entries

    def expect(self, names: Sequence[str]) -> None:
        if self.is_stream:
            self._refuse_second_reading()
        self.base.expect([name for name in names if not self._is_replaced(name)])

    def _refuse_second_reading(self) -> None:
        """Check a stream. Raises CheckpointError for a tensor that must be read twice."""
        for adapter, _ in self.adapters:
            for name, change in adapter.changes.items():
                if change.pair is not None and change.pair.magnitude is not None and change.pair.transposed:
                    raise CheckpointError(
                        f"DoRA's norms over the columns of {name} need its weights twice; leave out --stream"
                    )
        if self._output is not None and self._output.tied and not self._keeps_tied:
            raise CheckpointError(
                "with the adapter the output matrix isn't the embedding any more, and both are made of the"
                " same weights, which a stream has once; leave out --stream"
            )

    def rows(self, name: str, start: int, stop: int) -> Rows:
        if name not in self._changed:
            return self.base.rows(name, start, stop)
        changing = self._changing(name)
        if self._is_replaced(name):
            return self._replaced(changing[0][0], name, start, stop)
        base = as_float32(self.base.rows(name, start, stop))
        if len(changing) == 1 and changing[0][1] == 1.0:
            return self._with(base, changing[0][0], name, start)
        out = base.copy()
        for number, weight in changing:
            out += np.float32(weight) * self._change(base, number, name, start)
        return out

    def close(self) -> None:
        for adapter, _ in self.adapters:
            adapter.close()
        self.base.close()

    @property
    def _keeps_tied(self) -> bool:
        return all(adapter.keeps_tied for adapter, _ in self.adapters)

    def _changing(self, name: str) -> list[tuple[int, float]]:
        """Return the adapters that change a tensor, by number, with their weights."""
        return [
            (number, weight)
            for number, (adapter, weight) in enumerate(self.adapters)
            if name in adapter.changes
        ]

    def _is_replaced(self, name: str) -> bool:
        """True if nothing of the base's tensor is left, so that it needn't be read."""
        changing = self._changing(name)
        if len(changing) != 1 or changing[0][1] != 1.0:
            return False
        return self.adapters[changing[0][0]][0].changes[name].whole is not None

    def _all_entries(self, stored: Mapping[str, TensorEntry]) -> dict[str, TensorEntry]:
        """Return the base's tensors as changed; of a model that stays tied, only the half that it stores."""
        entries = {**self.base.entries, **self._changed}
        if self._output is not None and self._output.tied and self._keeps_tied:
            for name in (self._output.head, self._output.embedding):
                if name not in stored:
                    entries.pop(name, None)
        return entries

    def _changed_entries(self) -> dict[str, TensorEntry]:
        changed: dict[str, TensorEntry] = {}
        for adapter, _ in self.adapters:
            for name in adapter.changes:
                entry = self.base.entries[name]
                if entry.dtype.name not in FLOATS:
                    raise CheckpointError(
                        f"the adapter {adapter.name} changes {name}, which is {entry.dtype.name} and no"
                        " weight; give a base in F32, F16 or BF16"
                    )
                shape = adapter.shape_of(entry)
                if shape != entry.shape and not self._is_replaced(name):
                    raise CheckpointError(
                        f"the adapter {adapter.name} has {shape[0]} rows of {name} and the model"
                        f" {entry.shape[0]}: with another vocabulary it can be added alone only, and with the"
                        " weight 1"
                    )
                changed[name] = TensorEntry(name, shape, _FLOAT32)
        return changed

    def _change(self, base: Floats, number: int, name: str, start: int) -> Floats:
        """Return the change that this adapter alone makes to the base's rows."""
        change = self.adapters[number][0].changes[name]
        if change.whole is not None or change.bias is not None:
            return self._with(base, number, name, start) - base
        factors = self._factors_of(number, name)
        if factors.magnitude is not None:
            return self._with(base, number, name, start) - base
        return factors.rows(start, start + len(base))

    def _with(self, base: Floats, number: int, name: str, start: int) -> Floats:
        """Return the base's rows from `start` on as this adapter alone makes them."""
        change = self.adapters[number][0].changes[name]
        if change.whole is not None:
            return self._replaced(number, name, start, start + len(base))
        return self._added(base, number, name, start)

    def _replaced(self, number: int, name: str, start: int, stop: int) -> Floats:
        """Return the rows of a tensor that this adapter replaces."""
        adapter = self.adapters[number][0]
        change = adapter.changes[name]
        assert change.whole is not None
        return self._added(as_float32(adapter.tensors.rows(change.whole, start, stop)), number, name, start)

    def _added(self, rows: Floats, number: int, name: str, start: int) -> Floats:
        """Return `rows` of the weight with what this adapter adds to them."""
        adapter = self.adapters[number][0]
        change = adapter.changes[name]
        stop = start + len(rows)
        if change.bias is not None:
            added = as_float32(adapter.tensors.rows(change.bias, start, stop))
            rows = rows + added * np.float32(change.bias_strength)
        if change.pair is None:
            return rows
        factors = self._factors_of(number, name)
        rows = rows + factors.rows(start, stop)
        if factors.magnitude is None:
            return rows
        if not factors.per_column:
            return scale_to(rows, factors.magnitude[start:stop, None], row_norms(rows)[:, None])
        norms = self._norms.get(
            (number, name), lambda: column_norms(self._directions(number, name), rows.shape[1])
        )
        return scale_to(rows, factors.magnitude[None, :], norms[None, :])

    def _directions(self, number: int, name: str) -> Iterator[Floats]:
        """Yield W + ΔW in chunks, for DoRA's norms over columns."""
        adapter = self.adapters[number][0]
        change: TensorChange = adapter.changes[name]
        factors = self._factors_of(number, name)
        for start, stop in row_ranges(self._changed[name]):
            if change.whole is not None:
                rows = adapter.tensors.rows(change.whole, start, stop)
            else:
                rows = self.base.rows(name, start, stop)
            yield as_float32(rows) + factors.rows(start, stop)

    def _factors_of(self, number: int, name: str) -> Factors:
        adapter = self.adapters[number][0]
        pair = adapter.changes[name].pair
        assert pair is not None
        return self._factors.get((number, name), lambda: read_factors(adapter.tensors, pair))
