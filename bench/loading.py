"""The time and memory of loading a model with our matrix kernels, and with llama.cpp's own.

    python -m bench.loading MODEL.gguf … [--rounds 5] [--cold]

The two take turns. First a worker is started as a server starts it, which takes the kernels' check, the load,
the warm-up and, without our kernels, the trial of a prompt side. Then a process loads the model alone, and
does so twice: a virtual machine whose host takes free memory back gives it again at the first, which can cost
more than all else there. Printed are medians, and medians of the ratios of a round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from bench.quiet import wait_until_quiet
from models.errors import CorralError
from models.llamacpp import library
from models.llamacpp.model import Model
from server.ipc.model_spec import ModelSpec
from server.kernels.use import choose_kernels
from server.serve_options import ServeOptions
from server.supervisor.policy import Policy
from server.supervisor.process.worker_process import WorkerProcess

ARMS: tuple[Literal["on"], Literal["off"]] = ("on", "off")
"""The settings of `kernels` that are compared, ours first."""
MOST_PEAK, MOST_TIME = 1.1, 1.3
"""A worker may take so many times the memory and the time that it takes with llama.cpp's kernels."""
AIMS: Mapping[str, float | None] = {
    "ready_s": MOST_TIME,
    "ready_peak_mib": MOST_PEAK,
    "ready_mib": MOST_PEAK,
    "check_s": None,
    "first_s": None,
    "first_cpu_s": None,
    "again_s": None,
    "again_cpu_s": None,
    "peak_mib": MOST_PEAK,
    "after_mib": None,
    "file_mib": None,
}
"""The most that each ratio of figures may be; None where it only informs."""
SEQUENCES, TOKENS = 4, 4096
"""The worker has room for so many sequences of so many tokens."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of loading a model: seconds of the first load and of one after it, and memory in MiB.

    `check_s` is what the kernels' check takes before, once in a process, whatever the model.
    `peak_mib` is the process's most memory until the first load's end, `after_mib` its memory then, of which
    `file_mib` are pages of the file.
    """

    check_s: float
    first_s: float
    first_cpu_s: float
    again_s: float
    again_cpu_s: float
    peak_mib: float
    after_mib: float
    file_mib: float
    n_matrices: int
    ready_s: float = 0.0
    """Seconds from a worker's start until it can answer."""
    ready_peak_mib: float = 0.0
    """The worker's most memory until then."""
    ready_mib: float = 0.0
    """The worker's memory then."""


def load_twice(path: Path, kernels: Literal["on", "off"]) -> Cost:
    """Load a model in this process as a worker does. Raises ModelLoadError where `kernels` can't be had."""
    library.load()
    began = time.perf_counter()
    choice = choose_kernels(ServeOptions(kernels=kernels), is_all_on_gpu=False)
    check_s = time.perf_counter() - began
    began, used = time.perf_counter(), cpu_s()
    with Model.load(path):
        first_s, first_cpu_s = time.perf_counter() - began, cpu_s() - used
        memory, file_mib, n_matrices = memory_mib(), resident_mib(path), choice.report().n_matrices
    began, used = time.perf_counter(), cpu_s()
    with Model.load(path):
        again_s, again_cpu_s = time.perf_counter() - began, cpu_s() - used
    return Cost(
        check_s=check_s,
        first_s=first_s,
        first_cpu_s=first_cpu_s,
        again_s=again_s,
        again_cpu_s=again_cpu_s,
        peak_mib=memory["VmHWM"],
        after_mib=memory["VmRSS"],
        file_mib=file_mib,
        n_matrices=n_matrices,
    )


def cpu_s() -> float:
    """Return the processor seconds of this process so far, of the kernel's work for it, too."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def memory_mib(pid: int | Literal["self"] = "self") -> dict[str, float]:
    """Return the sizes of a process's /proc/PID/status by name."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return {
        name: int(rest.split()[0]) / 1024
        for name, _, rest in (line.partition(":") for line in lines)
        if rest.endswith(" kB")
    }


def resident_mib(path: Path) -> float:
    """Return how much of a file's mappings is in this process's memory."""
    total, is_its = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        name, _, rest = line.partition(" ")
        if not name.endswith(":"):
            is_its = rest.endswith(str(path.resolve()))
        elif is_its and name == "Rss:":
            total += int(rest.split()[0])
    return total / 1024


def measure(path: Path, kernels: Literal["on", "off"], *, cold: bool) -> Cost:
    """Start a worker, and load the model in a child.

    Raises CorralError for the worker, RuntimeError with what the child says.
    """
    if cold:
        drop_pages(path)
    ready_s, memory = asyncio.run(start_worker(path.resolve(), kernels))
    if cold:
        drop_pages(path)
    command = [sys.executable, "-m", "bench.loading", str(path), "--child", kernels]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{path.name}, kernels {kernels}: {done.stderr.strip()[-2000:]}")
    cost = Cost(**json.loads(done.stdout.splitlines()[-1]))
    return replace(cost, ready_s=ready_s, ready_peak_mib=memory["VmHWM"], ready_mib=memory["VmRSS"])


async def start_worker(path: Path, kernels: Literal["on", "off"]) -> tuple[float, dict[str, float]]:
    """Return the seconds until a worker of the model is ready, and its memory then. Raises CorralError."""
    options = ServeOptions(kernels=kernels, parallel=SEQUENCES, ctx=TOKENS)
    spec = ModelSpec(name=path.name, path=str(path), options=options)
    began = time.perf_counter()
    worker = await WorkerProcess.spawn(spec, Policy(), lambda _progress: None)
    try:
        await worker.ready()
        return time.perf_counter() - began, memory_mib(worker.pid)
    finally:
        worker.kill()
        await worker.ended()


def drop_pages(path: Path) -> None:
    """Have the system forget what it holds of a file: the next one to read it waits for the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def table(rounds: Sequence[Mapping[str, Cost]]) -> str:
    """Return the rounds of one model as a Markdown table."""
    lines = ["| figure | ours | llama.cpp's | ratio | at most |", "| --- | --: | --: | --: | --: |"]
    for figure, most in AIMS.items():
        ours, own = ([float(getattr(one[arm], figure)) for one in rounds] for arm in ARMS)
        ratio = statistics.median(a / max(b, 1e-6) for a, b in zip(ours, own, strict=True))
        medians = f"{statistics.median(ours):.3f} | {statistics.median(own):.3f}"
        aim = "" if most is None else f"{most} {'held' if ratio <= most else 'exceeded'}"
        shown = "–" if figure == "check_s" else f"{ratio:.2f}"  # llama.cpp's need none
        lines.append(f"| {figure} | {medians} | {shown} | {aim} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.loading", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quiet-wait", type=float, default=60.0, help="most seconds to wait before a round")
    parser.add_argument("--cold", action="store_true", help="drop the file from the page cache before a load")
    parser.add_argument("--child", choices=ARMS, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.child is not None:
        print(json.dumps(asdict(load_twice(args.models[0], args.child))))
        return 0
    for path in args.models:
        rounds: list[Mapping[str, Cost]] = []
        for number in range(args.rounds):
            wait_until_quiet(args.quiet_wait)
            order = ARMS if number % 2 == 0 else ARMS[::-1]
            try:
                rounds.append({arm: measure(path, arm, cold=args.cold) for arm in order})
            except (CorralError, RuntimeError) as error:
                print(error, file=sys.stderr)
                return 1
        n = rounds[0]["on"].n_matrices
        print(f"\n{path.name}, {n} matrices, {args.rounds} rounds:\n\n{table(rounds)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
