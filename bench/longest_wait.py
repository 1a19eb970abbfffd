"""The longest wait of others for each heavy body: `python -m bench.longest_wait URL [NAME …]`.

While a running server works on a body as large as it allows, a process of its own asks for `/health` without
a pause. Printed are the two longest of those answers in milliseconds. The machine should be quiet: each wait
counts whatever else wanted a core.
"""

from __future__ import annotations

import http.client
import select
import subprocess
import sys
import time
from contextlib import suppress
from urllib.parse import urlsplit

from bench.heavy_bodies import heavy_bodies

PAUSE_S = 0.005
"""The pause between two questions to `/health`, in seconds."""


def measure(url: str, path: str, body: bytes) -> tuple[int, float, list[float]]:
    """Return the status of the heavy request, its seconds, and those of each `/health` meanwhile, sorted."""
    command = [sys.executable, "-m", __spec__.name, "--watch", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        watching.stdout.readline()
        begun = time.perf_counter()
        status = post(url, path, body)
        took_s = time.perf_counter() - begun
        waits = [float(text) for text in watching.communicate("end\n")[0].split()]
    return status, took_s, sorted(waits)


def post(url: str, path: str, body: bytes) -> int:
    """Send the body and read the whole answer; return its status."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)
    try:
        with suppress(BrokenPipeError, ConnectionResetError):  # it was refused before all of it was read
            connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def watch(url: str) -> None:
    """Ask for `/health` until a line comes on stdin, then print the seconds of each answer."""
    waits: list[float] = []
    print("watching", flush=True)
    while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
        begun = time.perf_counter()
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)
        connection.request("GET", "/health")
        connection.getresponse().read()
        connection.close()
        waits.append(time.perf_counter() - begun)
    print(*waits)


def main(arguments: list[str]) -> None:
    """Measure the heavy bodies that have one of the names, or all."""
    url, *names = arguments
    print(f"{'body':24} {'bytes':>10} status  seconds  longest ms  second ms  asked")
    for heavy in heavy_bodies():
        if names and heavy.name not in names:
            continue
        body = heavy.make(1)
        status, took_s, waits = measure(url, heavy.path, body)
        longest, second = (1e3 * wait for wait in [0.0, 0.0, *waits][:-3:-1])
        print(
            f"{heavy.name:24} {len(body):10,} {status:6} {took_s:8.2f} {longest:11.1f} {second:10.1f}"
            f" {len(waits):6}",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--watch"]:
        watch(sys.argv[2])
    else:
        main(sys.argv[1:])
