"""The transform of a tensor that is in a GGUF file already: its rows stay as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from quantize.architectures.base.transform import Shape
from quantize.checkpoint.source import Rows, TensorSource


@dataclass(frozen=True)
class Passthrough:
    """The tensor itself. `ggml_type` is its type in the file, from which llama.cpp's rules start."""

    ggml_type: int
    row_step: int = 1

    def source_shapes(self, shape: Shape) -> tuple[Shape, ...]:
        """Return the source's shape: a GGUF source has vectors and matrices; further axes are more rows."""
        return (shape if len(shape) == 1 else (math.prod(shape[:-1]), shape[-1]),)

    def read(self, source: TensorSource, names: Sequence[str], start: int, stop: int) -> Rows:
        return source.rows(names[0], start, stop)
