"""The messages between `corral cluster share` and the process of it that loads llama.cpp."""

from __future__ import annotations

from typing import Literal

import msgspec

EXIT_REFUSED = 3
"""The process ends with this status where another start would fail in the same way."""


class ShareJob(msgspec.Struct, frozen=True):
    """The devices to serve, and the address."""

    address: str
    """An IPv4 address in numbers, and a port."""
    n_threads: int
    devices: tuple[str, ...] = ()
    """ggml's names of devices; none: the GPUs, or the CPU without any."""
    cache_folder: str | None = None


class SharedDevice(msgspec.Struct, frozen=True):
    """A device that is served."""

    name: str
    description: str
    memory_bytes: int


class ShareEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of what happens: it starts or can't, somebody has `connected` or `left`."""

    kind: Literal["starting", "refused", "connected", "left"]
    devices: tuple[SharedDevice, ...] = ()
    peer: str = ""
    seconds: float = 0.0
    """The client was there for so long."""
    message: str = ""
