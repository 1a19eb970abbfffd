"""`BorrowedOutput`: a head that drafts, and the output matrix of its model among its own tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from models.errors import CheckpointError, QuantizationError
from quantize.architectures.families.eagle3 import Eagle3
from quantize.architectures.registry import architecture_of
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.checkpoint.source import Rows, TensorEntry, TensorSource
from quantize.merge.output_matrix import output_matrix_of

OUTPUT: Final = f"{Eagle3.head_name}.weight"
"""The name of a head's output matrix among its tensors."""


class BorrowedOutput(TensorSource):
    """The tensors of `head`, and the matrix `stored` of `target` as its output matrix. Owns both."""

    def __init__(self, head: TensorSource, target: TensorSource, stored: str) -> None:
        self._head = head
        self._target = target
        self._stored = stored
        entry = target.entries[stored]
        self._entries = MappingProxyType(
            {**head.entries, OUTPUT: TensorEntry(OUTPUT, entry.shape, entry.dtype)}
        )

    @property
    def entries(self) -> Mapping[str, TensorEntry]:
        return self._entries

    @property
    def memory_bytes(self) -> int:
        return self._head.memory_bytes + self._target.memory_bytes

    @property
    def working_itemsize(self) -> int:
        return max(self._head.working_itemsize, self._target.working_itemsize)

    @property
    def is_stream(self) -> bool:
        return self._head.is_stream

    def expect(self, names: Sequence[str]) -> None:
        self._head.expect([name for name in names if name != OUTPUT])

    def rows(self, name: str, start: int, stop: int) -> Rows:
        if name == OUTPUT:
            return self._target.rows(self._stored, start, stop)
        return self._head.rows(name, start, stop)

    def columns(self, name: str, start: int, stop: int) -> Rows:
        if name == OUTPUT:
            return self._target.columns(self._stored, start, stop)
        return self._head.columns(name, start, stop)

    def close(self) -> None:
        self._head.close()
        self._target.close()


def with_output_of(head: Checkpoint, target: Path) -> Checkpoint:
    """Return a head's checkpoint with the output matrix of the model in the folder `target`, which owns it.

    Raises QuantizationError if it is no head, or has such a matrix; CheckpointError if the model's can't be
    found.
    """
    family = architecture_of(head.config) if head.gguf is None else None
    if not isinstance(family, Eagle3):
        raise QuantizationError(f"{head.directory} is no head that drafts; leave out --own-output")
    with ExitStack() as stack:
        model = stack.enter_context(Checkpoint.open(target))
        family = family.for_target(model.config)
        if any(family.tensor_name(name) == OUTPUT for name in head.tensors.entries):
            raise QuantizationError("the head has an output matrix of its own; leave out --own-output")
        matrix = output_matrix_of(model.config, model.tensors)
        names = () if matrix is None else (matrix.head, matrix.embedding)[: 1 + matrix.tied]
        stored = next((name for name in names if name in model.tensors.entries), None)
        if stored is None:
            raise CheckpointError(f"{target} has no output matrix that is known here; leave out --own-output")
        stack.pop_all()
        return replace(head, tensors=BorrowedOutput(head.tensors, model.tensors, stored))
