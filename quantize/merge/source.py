"""Several checkpoints merged into one, as a TensorSource."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from quantize.checkpoint.source import Rows, TensorEntry, TensorSource
from quantize.merge.chunks import Floats, Once, as_float32, float_chunks, round_to
from quantize.merge.merge_plan import MergedTensor, Operand
from quantize.merge.methods import Arc, Method, add_deltas, arc, linear, slerp
from quantize.merge.sparsify import HELD_ELEMENTS, Everything, Sparse, largest, random

Item = TypeVar("Item")


class MergeSource(TensorSource):
    """The tensors of a merge's plan, computed in f32 when they are requested. Owns `models`.

    A block of rows takes its size in f32 for each model, and two or three times more; while a threshold or an
    angle is found, a chunk of each of two models. The first block of a tensor waits for those.
    """

    def __init__(
        self, method: Method, models: Mapping[str, TensorSource], tensors: Sequence[MergedTensor]
    ) -> None:
        assert not any(model.is_stream for model in models.values()), "a merge reads weights more than once"
        self._method = method
        self._models = dict(models)
        self._tensors = {tensor.entry.name: tensor for tensor in tensors}
        self._entries = MappingProxyType({tensor.entry.name: tensor.entry for tensor in tensors})
        self._sparse: Once[tuple[str, int], Sparse] = Once()
        self._arcs: Once[str, Arc] = Once()
        self._turns = itertools.count()

    @property
    def working_itemsize(self) -> int:
        return 4 * (len(self._models) + 3)

    @property
    def memory_bytes(self) -> int:
        """The deltas held while a threshold is found, and what the models hold."""
        held = 4 * HELD_ELEMENTS if self._method.sparse == "largest" else 0
        return held + sum(model.memory_bytes for model in self._models.values())

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        return self._entries

    def rows(self, name: str, start: int, stop: int) -> Rows:
        tensor = self._tensors[name]
        if tensor.copied or self._method.name == "passthrough":
            return self._pass_through(tensor, start, stop)
        rows = [self._read(operand, start, stop) for operand in tensor.operands]
        if self._method.name == "linear":
            weights = [operand.values["weight"] for operand in tensor.operands]
            merged = linear(rows, weights, bool(tensor.shared["normalize"]))
        elif self._method.name == "slerp":
            base, other = _base_first(tensor, rows)
            merged = slerp(base, other, self._arc(tensor))
        else:
            merged = self._arithmetic(tensor, rows, start)
        return round_to(merged, tensor.entry.dtype)

    def close(self) -> None:
        for source in self._models.values():
            source.close()

    def _read(self, operand: Operand, start: int, stop: int) -> Floats:
        return as_float32(self._models[operand.model].rows(operand.tensor, start, stop))

    def _pass_through(self, tensor: MergedTensor, start: int, stop: int) -> Rows:
        operand = tensor.operands[0]
        rows = self._models[operand.model].rows(operand.tensor, start, stop)
        scale = 1.0 if tensor.copied else operand.values["scale"]
        if scale == 1.0 and rows.dtype == tensor.entry.dtype:
            return rows
        return round_to(as_float32(rows) * np.float32(scale), tensor.entry.dtype)

    def _arithmetic(self, tensor: MergedTensor, rows: Sequence[Floats], start: int) -> Floats:
        numbers = [number for number, operand in enumerate(tensor.operands) if not operand.is_base]
        base = next(part for part, operand in zip(rows, tensor.operands, strict=True) if operand.is_base)
        sparse = self._sparse_of(tensor, numbers)
        first = start * (base[0].size if base.ndim and len(base) else 1)
        deltas = []
        for number in numbers:
            delta = rows[number] - base
            sparse[number].apply(delta, first)
            deltas.append(delta)
        weights = [float(tensor.operands[number].values["weight"]) for number in numbers]
        return add_deltas(base, deltas, weights, tensor.shared, self._method.elects_signs)

    def _sparse_of(self, tensor: MergedTensor, numbers: Sequence[int]) -> dict[int, Sparse]:
        """Return each model's choice. Threads that come at once begin at different models: each finds one."""
        if self._method.sparse is None:
            return dict.fromkeys(numbers, Everything())
        turn = next(self._turns) % len(numbers)
        choices = {}
        for number in (*numbers[turn:], *numbers[:turn]):
            find = partial(self._find, tensor, number, numbers.index(number))
            choices[number] = self._sparse.get((tensor.entry.name, number), find)
        return choices

    def _find(self, tensor: MergedTensor, number: int, ordinal: int) -> Sparse:
        density = float(tensor.operands[number].values["density"])
        rescale = bool(tensor.shared["rescale"])
        if self._method.sparse == "random":
            return random(tensor.entry.name, ordinal, density, rescale)
        return largest(lambda: self._deltas(tensor, number), tensor.entry.n_elements, density, rescale)

    def _deltas(self, tensor: MergedTensor, number: int) -> Iterator[Floats]:
        base = next(operand for operand in tensor.operands if operand.is_base)
        for one, other in zip(self._chunks(base), self._chunks(tensor.operands[number]), strict=True):
            yield other - one

    def _chunks(self, operand: Operand) -> Iterator[Floats]:
        return float_chunks(self._models[operand.model], operand.tensor)

    def _arc(self, tensor: MergedTensor) -> Arc:
        return self._arcs.get(tensor.entry.name, lambda: self._find_arc(tensor))

    def _find_arc(self, tensor: MergedTensor) -> Arc:
        base, other = _base_first(tensor, tensor.operands)
        base_square = other_square = product = 0.0
        for one, two in zip(self._chunks(base), self._chunks(other), strict=True):
            base_square += float(np.sum(np.square(one, dtype=np.float64)))
            other_square += float(np.sum(np.square(two, dtype=np.float64)))
            product += float(np.sum(np.multiply(one, two, dtype=np.float64)))
        return arc(float(tensor.shared["t"]), base_square, other_square, product)


def _base_first(tensor: MergedTensor, items: Sequence[Item]) -> tuple[Item, Item]:
    first, second = items
    return (first, second) if tensor.operands[0].is_base else (second, first)
