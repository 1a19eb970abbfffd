"""The process of `corral cluster share` that serves this machine's devices: `python -m … JSON`.

It loads llama.cpp, so anything that a client sends may end it. What it says are lines of JSON on its stdout,
`ShareEvent`s; the end of its stdin ends it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import msgspec

from models.errors import LlamaCppError
from models.llamacpp import library, rpc
from models.rpc.keep_alive import SERVER_S, Peer, connections, keep_alive
from server.cluster.sharing.messages import EXIT_REFUSED, SharedDevice, ShareEvent, ShareJob

LOOK_S = 0.2
"""The connections are looked at, at this interval."""


def main() -> int:
    """Serve until stdin ends; return the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the parent's
    job = msgspec.json.decode(sys.argv[1], type=ShareJob)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        devices = _chosen(job)
        rpc.require_library()
    except LlamaCppError as error:
        _say(ShareEvent("refused", message=error.message))
        return EXIT_REFUSED
    _say(ShareEvent("starting", devices=tuple(devices)))
    port = int(job.address.rpartition(":")[2])
    threading.Thread(target=_watch, args=(port,), daemon=True).start()
    rpc.serve(job.address, [device.name for device in devices], job.n_threads, job.cache_folder)
    _say(ShareEvent("refused", message=f"{job.address} can't be listened at; is it in use, or another's?"))
    return EXIT_REFUSED


def _chosen(job: ShareJob) -> list[SharedDevice]:
    """Return the devices to serve: those named, else the GPUs, else the CPU. Raises LlamaCppError."""
    there = {device.name: device for device in library.devices()}
    unknown = [name for name in job.devices if name not in there]
    if unknown:
        raise LlamaCppError(f"there is no device {unknown[0]!r} here; --device takes {', '.join(there)}")
    gpus = [name for name, device in there.items() if device.type == "gpu"]
    cpus = [name for name, device in there.items() if device.type == "cpu"]
    names = list(dict.fromkeys(job.devices)) or gpus or cpus
    return [SharedDevice(name, there[name].description, there[name].memory_free) for name in names]


def _watch(port: int) -> None:
    """Tell who comes and goes, and let connections end whose other machine is gone."""
    since_s: dict[Peer, float] = {}
    while True:
        time.sleep(LOOK_S)
        here = set()
        for sock, own, peer in connections():
            if own[1] == port:
                here.add(peer)
                if peer not in since_s:
                    keep_alive(sock, SERVER_S)
        for peer in here - since_s.keys():
            since_s[peer] = time.monotonic()
            _say(ShareEvent("connected", peer=f"{peer[0]}:{peer[1]}"))
        for peer in since_s.keys() - here:
            seconds = time.monotonic() - since_s.pop(peer)
            _say(ShareEvent("left", peer=f"{peer[0]}:{peer[1]}", seconds=round(seconds, 1)))


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def _say(event: ShareEvent) -> None:
    os.write(1, msgspec.json.encode(event) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
