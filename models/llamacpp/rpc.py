"""llama.cpp's RPC back end: servers that compute a part of a model, and the other end, such a server.

A library of its own (`scripts/rpc.py` builds it), loaded only by who asks for it. Its client ends the process
with `ggml_abort` when a server fails, whatever the call: `models.rpc.probe` asks first.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from models.errors import LlamaCppError
from models.llamacpp import library
from models.llamacpp.library_file import check_library_file
from models.rpc.keep_alive import CLIENT_S, connections, keep_alive

FILE_NAME = "libcorral_rpc.so"
LIBRARY_VARIABLE = "CORRAL_RPC_LIBRARY"
"""This variable of the environment names the library in place of the one beside llama.cpp's."""
CONNECT_S = 5.0
"""Servers that answered a moment ago have so long to take the connection that stays."""


@cache
def _handle() -> Any:
    """Open the library, once. Raises LlamaCppError: it isn't there, or isn't whole."""
    library.load()
    named = os.environ.get(LIBRARY_VARIABLE, "")
    path = Path(named) if named else Path(library.library_path()).with_name(FILE_NAME)
    if not path.is_file():
        why = "is built on Linux only" if sys.platform != "linux" else "isn't there"
        raise LlamaCppError(
            f"llama.cpp's RPC back end {why} ({path}); run `make setup`, or `python3 -m scripts.rpc`, which"
            " says why it can't be built"
        )
    check_library_file(path)
    try:
        handle = ctypes.CDLL(os.fspath(path.resolve()), mode=os.RTLD_NOW | os.RTLD_LOCAL)
        handle.ggml_backend_rpc_add_server.restype = ctypes.c_void_p
        handle.ggml_backend_rpc_add_server.argtypes = [ctypes.c_char_p]
        handle.ggml_backend_rpc_start_server.restype = None
        handle.ggml_backend_rpc_start_server.argtypes = [
            *(ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)
        ]
    except (OSError, AttributeError) as error:
        raise LlamaCppError(f"{path} doesn't fit this build of llama.cpp: {error}") from None
    return handle


def require_library() -> None:
    """Raise LlamaCppError unless the library can be loaded."""
    _handle()


def connect(addresses: Sequence[str]) -> list[int]:
    """Connect to servers, for the life of the process; return their devices (ggml_backend_dev_t), in order.

    llama.cpp closes a connection that nothing uses, and another client could come in between: a back end of
    the first device, which is never freed, holds it. The devices aren't registered: only a model that names
    them is computed there. A server that doesn't answer within `CONNECT_S` ends the process, with a line on
    stderr that names it. Raises LlamaCppError: there are more devices than llama.cpp takes.
    """
    handle = _handle()
    init = library.bind("ggml_backend_dev_init", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
    count = library.bind("ggml_backend_reg_dev_count", ctypes.c_size_t, ctypes.c_void_p)
    get = library.bind("ggml_backend_reg_dev_get", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    devices: list[int] = []
    for address in addresses:
        with _patience(address):
            server = handle.ggml_backend_rpc_add_server(address.encode())
            if not server:
                raise LlamaCppError(f"the server {address} has no devices; see its log")
            own = [get(server, index) for index in range(count(server))]
            init(own[0], None)
        devices += own
    ports = {int(address.rpartition(":")[2]) for address in addresses}
    for sock, _own, peer in connections():
        if peer[1] in ports:
            keep_alive(sock, CLIENT_S)
    most = int(library.load().llama_max_devices())
    if len(devices) > most:
        raise LlamaCppError(
            f"the servers have {len(devices)} devices, and llama.cpp takes {most}; name fewer servers"
        )
    return devices


@contextmanager
def _patience(address: str) -> Iterator[None]:
    """End the process if the block, in which llama.cpp waits for a server, takes longer than `CONNECT_S`."""

    def give_up() -> None:
        what = f"ggml-rpc: {address} doesn't take the connection: another client has it"
        os.write(2, f"llama.cpp aborted: {what}\n".encode())
        os.abort()

    timer = threading.Timer(CONNECT_S, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def serve(address: str, devices: Sequence[str], n_threads: int, cache_folder: str | None) -> None:
    """Serve devices of this machine, by name, at `HOST:PORT` to one client at a time; blocks without the GIL.

    `n_threads` are those of a CPU. `cache_folder`, if given, must be there: large tensors are kept in it, so
    that the next load needn't send them. Returns only where the address can't be listened at. Raises
    LlamaCppError: there is no such device.
    """
    handle = _handle()
    by_name = library.bind("ggml_backend_dev_by_name", ctypes.c_void_p, ctypes.c_char_p)
    pointers = [by_name(name.encode()) for name in devices]
    for name, pointer in zip(devices, pointers, strict=True):
        if not pointer:
            known = ", ".join(device.name for device in library.devices())
            raise LlamaCppError(f"there is no device {name!r}; this machine has {known}")
    array = (ctypes.c_void_p * len(pointers))(*pointers)
    folder = None if cache_folder is None else os.fsencode(cache_folder)
    handle.ggml_backend_rpc_start_server(address.encode(), folder, n_threads, len(pointers), array)
