"""The options of a pass: how many threads, how much memory, in which order and parts it writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from models.machine.hardware import available_cores

SAVE_EVERY_S: Final = 2.0
"""Progress is made durable this often, in seconds."""


@dataclass(frozen=True)
class RunOptions:
    """The resources and the order in which a plan is carried out; no byte of a tensor depends on them."""

    threads: int | None = None
    """The number of encoding threads; None for one per core."""
    memory_bytes: int | None = None
    """The most memory that the pass may use (`quantize.run.memory_budget`); None for no limit."""
    split_bytes: int | None = None
    """Outputs larger than this are written in parts; None for one file each."""
    stream: bool = False
    """Weights from the Hub are quantized as they arrive and never stored; tensors are made in the source's
    order.
    """
    save_every_s: float = SAVE_EVERY_S
    """Progress is made durable this often, in seconds."""

    @property
    def n_threads(self) -> int:
        """The number of encoding threads."""
        return self.threads or available_cores()
