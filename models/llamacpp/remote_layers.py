"""`RemoteLayers`: the devices of other machines that get a model's layers, and their shares."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from models.llamacpp import library


class RemoteLayers:
    """Devices of `models.llamacpp.rpc.connect`, at most as many as llama.cpp takes, at least one.

    It owns the arrays that llama.cpp reads while a model is loaded, so it is held so long.
    """

    def __init__(self, devices: Sequence[int], shares: Sequence[int]) -> None:
        """`shares` has a number for each device: the layers are divided in their proportion."""
        self._devices = (ctypes.c_void_p * (len(devices) + 1))(*devices, None)
        most = int(library.load().llama_max_devices())
        self._shares = (ctypes.c_float * most)(*shares)

    def write_to(self, params: Any) -> None:
        """Write it into llama_model_params."""
        params.devices = ctypes.addressof(self._devices)
        params.tensor_split = self._shares
