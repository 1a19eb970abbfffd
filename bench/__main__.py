"""`make bench`: builds the peers and the models, then measures Corral beside them.

    python -m bench [--only demo|134M] [options of bench.side_by_side after --]

The demo model tells what a first visitor sees; the 134 M one, random weights under a real 32k vocabulary,
what serving costs when the model is large enough to matter. Results: a Markdown table on stdout, every
measurement as JSON in `bench-results/`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import peers
from bench.random_model import SHAPES, write_random_llama
from models.llamacpp.quantizer import FTYPES, quantize_file
from scripts import wheel_cache
from scripts.steps import say

DEMO_EOS, LLAMA_EOS = "1", "2"


def demo_model(folder: Path) -> Path:
    """The demo model's Q4_K_M, made by `corral quantize`."""
    corral = str(Path(sys.executable).with_name("corral"))
    subprocess.run(
        [corral, "quantize", "demo", "--type", "Q4_K_M", "--out", str(folder), "--force"],
        check=True,
        stdout=sys.stderr,
    )
    return folder / "demo.Q4_K_M.gguf"


def random_model(sources: Path, shape: str, folder: Path) -> Path:
    """A random-weight Q4_K_M of `shape`, made at the first call."""
    made = folder / f"random-{shape}.Q4_K_M.gguf"
    if not made.exists():
        say(f"making {made.name}")
        half, partial = folder / f"random-{shape}.F16.gguf", made.with_suffix(".partial")
        write_random_llama(sources / "models" / "ggml-vocab-llama-spm.gguf", half, SHAPES[shape])
        quantize_file(half, partial, FTYPES["Q4_K_M"], os.cpu_count() or 1)
        half.unlink()
        partial.rename(made)
    return made


def measure(
    name: str, model: Path, eos: str, results: Path, extra: Sequence[str], servers: Sequence[str]
) -> None:
    """Run bench.side_by_side in a process of its own, without what building the models left in this one."""
    print(f"\n## {name}\n", flush=True)
    subprocess.run(
        [
            *(sys.executable, "-m", "bench.side_by_side", "--model", str(model), "--eos", eos, *servers),
            *("--json", str(results / f"{name}.json"), "--logs", str(results / "logs"), *extra),
        ],
        check=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Corral beside its peers")
    parser.add_argument("--only", choices=["demo", "134M"], help="one model instead of both")
    parser.add_argument(
        "--results", type=Path, default=Path("bench-results"), help="folder for JSON and logs"
    )
    parser.add_argument("--llama-server", type=Path, help="a llama-server that is built already")
    parser.add_argument("extra", nargs="*", help="options of bench.side_by_side, after --")
    args = parser.parse_args()
    source = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")
    if not source:
        print("CORRAL_LLAMA_CPP_SOURCE isn't set: use `make bench`, which sets it", file=sys.stderr)
        return 2
    args.results.mkdir(parents=True, exist_ok=True)
    folder = wheel_cache.cache_root().parent / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    servers = [
        *("--llama-server", str(args.llama_server or peers.llama_server(Path(source)))),
        *("--peer-python", str(peers.llama_cpp_python())),
    ]
    if args.only != "134M":
        measure("demo", demo_model(folder), DEMO_EOS, args.results, args.extra, servers)
    if args.only != "demo":
        measure(
            "134M", random_model(Path(source), "134M", folder), LLAMA_EOS, args.results, args.extra, servers
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
