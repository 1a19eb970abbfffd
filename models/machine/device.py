"""`Device`: a device that ggml's backends offer, as a value that any process may hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """A ggml device. `type` is "cpu", "gpu", "igpu" (shares the machine's memory), "accel" or "meta"."""

    name: str
    description: str
    type: str
    memory_total: int
    """The device's memory in bytes, as its backend reports it."""
    memory_free: int
    """The free part of the device's memory in bytes."""

    @property
    def is_gpu(self) -> bool:
        """True for a GPU, with memory of its own or the machine's."""
        return self.type in {"gpu", "igpu"}
