"""`make bench-quantize`: a pass of Corral against llama.cpp's converter and llama-quantize per type.

    python -m bench.quantize [--types Q8_0 Q5_K_M Q4_K_M] [--rounds 3] [--shape 1.1B]

Both start from the same random-weight BF16 checkpoint and end with the same types on the disk, Corral's
synced. Interleaved, another order each round; ratios are taken round by round. The floor is the time that
encoding alone takes: the same rows, in F32 in memory, through the same encoder on all cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine
from bench.random_checkpoint import write_random_checkpoint
from bench.random_model import SHAPES
from models.machine.hardware import available_cores
from scripts import wheel_cache

VOCABULARY = Path("models/ggml-vocab-llama-spm.gguf")
TYPES = ("Q8_0", "Q5_K_M", "Q4_K_M")
AIMS = {TYPES: 0.75, ("Q8_0",): 0.5}
MEMORY_AIM_BYTES = 3 * 2**29


@dataclass(frozen=True)
class Tools:
    """The programs and folders. `before` goes in front of each command that is timed."""

    sources: Path
    llama_quantize: Path
    converter_python: Path
    work: Path
    before: tuple[str, ...]


def timed(tools: Tools, command: Sequence[str], environ: dict[str, str] | None = None) -> dict[str, float]:
    """Run the command; return seconds, CPU seconds and peak memory. Raises CalledProcessError."""
    out = tools.work / "timed.json"
    whole = [*tools.before, sys.executable, "-m", "bench.timed", str(out), *command]
    done = subprocess.run(whole, env={**os.environ, **(environ or {})}, capture_output=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr.decode(errors="replace")[-4000:])
        raise subprocess.CalledProcessError(done.returncode, whole)
    cost: dict[str, float] = json.loads(out.read_text())
    return cost


def corral(tools: Tools, checkpoint: Path, types: Sequence[str]) -> dict[str, float]:
    """Measure one pass to all types, as a user runs it."""
    home, out = tools.work / "home", tools.work / "corral"
    flags = [word for type_ in types for word in ("--type", type_)]
    command = [sys.executable, "-m", "server.cli", "quantize", str(checkpoint), *flags, "--out", str(out)]
    cost = timed(tools, command, {"CORRAL_HOME": str(home)})
    cost["disk_bytes"] = _disk_bytes(out)
    shutil.rmtree(out)
    return cost


def peers(tools: Tools, checkpoint: Path, types: Sequence[str]) -> dict[str, float]:
    """Measure the converter to BF16, then llama-quantize per type; times add up, memory is the largest."""
    out = tools.work / "peers"
    out.mkdir()
    half = out / "bf16.gguf"
    converter = [str(tools.converter_python), str(tools.sources / "convert_hf_to_gguf.py"), str(checkpoint)]
    cost = timed(tools, [*converter, "--outfile", str(half), "--outtype", "bf16"])
    cost["converter_seconds"] = cost["seconds"]
    for type_ in types:
        command = [
            str(tools.llama_quantize),
            str(half),
            str(out / f"{type_}.gguf"),
            type_,
            str(available_cores()),
        ]
        one = timed(tools, command)
        cost[f"{type_}_seconds"] = one["seconds"]
        cost["seconds"] += one["seconds"]
        cost["cpu_seconds"] += one["cpu_seconds"]
        cost["peak_bytes"] = max(cost["peak_bytes"], one["peak_bytes"])
    cost["disk_bytes"] = _disk_bytes(out)
    shutil.rmtree(out)
    return cost


def floor(tools: Tools, checkpoint: Path, types: Sequence[str]) -> dict[str, float]:
    """Measure encoding alone."""
    out = tools.work / "floor.json"
    command = [sys.executable, "-m", "bench.encoding_floor", str(checkpoint), str(out), *types]
    subprocess.run([*tools.before, *command], check=True)
    cost: dict[str, float] = json.loads(out.read_text())
    return cost


def measure(tools: Tools, checkpoint: Path, types: Sequence[str], rounds: int) -> dict[str, Any]:
    """Measure all rounds, and the floor between them."""
    ours: list[dict[str, float]] = []
    theirs: list[dict[str, float]] = []
    floors: list[dict[str, float]] = []
    for number in range(rounds):
        pairs = [(ours, corral), (theirs, peers)]
        for kept, step in pairs if number % 2 == 0 else reversed(pairs):
            kept.append(step(tools, checkpoint, types))
        if number == 0:
            floors.append(floor(tools, checkpoint, types))
        took = [f"{one[-1]['seconds']:.1f} s" for one in (ours, theirs)]
        print(f"round {number + 1}: {', '.join(took)}", file=sys.stderr, flush=True)
    return {"types": list(types), "corral": ours, "peers": theirs, "floor": floors}


def report(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    ours, theirs = results["corral"], results["peers"]
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ratios)
    aim = AIMS.get(tuple(results["types"]))
    seconds = _median(ours, "seconds")
    encoding = _median(results["floor"], "seconds")
    lines = [
        f"## {' + '.join(results['types'])}",
        "",
        "|  | seconds | CPU seconds | peak memory, MiB | disk, MiB |",
        "| --- | --- | --- | --- | --- |",
        _row("Corral, one pass", ours),
        _row("converter + llama-quantize", theirs),
        f"| encoding alone | {encoding:.1f} |  |  |  |",
        "",
        f"Ratio of times, median of {len(ratios)}: {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        + (f"; at most {aim} is the aim." if aim else "."),
        f"Corral takes {seconds / encoding:.2f} × the time of encoding alone.",
    ]
    return "\n".join(lines)


def _row(name: str, results: Sequence[dict[str, float]]) -> str:
    mib = [_median(results, key) / 2**20 for key in ("peak_bytes", "disk_bytes")]
    times = [_median(results, key) for key in ("seconds", "cpu_seconds")]
    return f"| {name} | {times[0]:.1f} | {times[1]:.1f} | {mib[0]:.0f} | {mib[1]:.0f} |"


def _median(results: Sequence[dict[str, float]], key: str) -> float:
    return statistics.median(one[key] for one in results)


def _disk_bytes(folder: Path) -> float:
    return float(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.quantize", description=__doc__.splitlines()[0])
    parser.add_argument("--types", nargs="+", default=list(TYPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="1.1B")
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint that is there")
    parser.add_argument("--llama-quantize", type=Path, help="a llama-quantize that is built already")
    parser.add_argument("--converter-python", type=Path, help="a Python that runs llama.cpp's converter")
    parser.add_argument("--work", type=Path, help="folder for the outputs, on a disk to be measured")
    parser.add_argument("--before", default="", help="put in front of each timed command")
    parser.add_argument("--json", type=Path, help="write every measurement there")
    args = parser.parse_args()
    source = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")
    if not source:
        print("CORRAL_LLAMA_CPP_SOURCE isn't set: use `make bench-quantize`, which sets it", file=sys.stderr)
        return 2
    cache = wheel_cache.cache_root().parent / "bench"
    checkpoint = args.checkpoint or cache / f"random-{args.shape}-hf"
    if not (checkpoint / "config.json").is_file():
        print(f"writing {checkpoint}, once", file=sys.stderr)
        write_random_checkpoint(Path(source) / VOCABULARY, checkpoint, SHAPES[args.shape])
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        python = args.converter_python or machine.ROOT / ".venv-oracle" / "bin" / "python"
        quantizer = args.llama_quantize or _built(Path(source))
        tools = Tools(Path(source), quantizer, python, Path(work), tuple(shlex.split(args.before)))
        results = measure(tools, checkpoint, args.types, args.rounds)
    if args.json:
        args.json.write_text(json.dumps({**machine.describe(None), **results}, indent=1), encoding="utf-8")
    print(report(results))
    return 0


def _built(sources: Path) -> Path:
    """Return llama-quantize from the same build as the benchmark's llama-server."""
    from bench import peers as builds
    from bench.__main__ import build_environment

    return builds.llama_quantize(sources, build_environment())


if __name__ == "__main__":
    sys.exit(main())
