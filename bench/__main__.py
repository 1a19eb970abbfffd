"""`make bench`: the peers and the models are built, then Corral is measured side by side with them.

    python -m bench [--only 134M 1.1B] [--type Q4_K_M] [--ik-source DIR] [-- options of bench.side_by_side]

The demo model shows what a first visitor sees; the other two, random weights in real shapes under a real 32k
vocabulary, what serving costs when the model is large enough to matter. Results: Markdown tables on stdout
and in `DIR/NAME.md`, every measurement in `DIR/NAME.json`, the servers' output in `DIR/logs`.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from bench import peers
from bench.random_model import SHAPES, write_random_llama
from bench.sigterm import ends_by_sigterm
from models.errors import CorralError
from models.llamacpp.quantization.ggml_types import FTYPES
from models.llamacpp.quantization.quantizer import quantize_file
from scripts import compiler, wheel_cache
from scripts.environment import PURPOSES, ROOT, build_settings, read_stamp
from scripts.steps import SetUpError, say

DEMO = "demo"
TYPE = "Q4_K_M"
"""The models are of this type unless another is asked for."""
NAMES = (DEMO, *SHAPES)
VOCABULARY = Path("models/ggml-vocab-llama-spm.gguf")


def demo_model(folder: Path, type_: str) -> Path:
    """Return the demo model's file of this type, made by `corral quantize`."""
    corral = str(Path(sys.executable).with_name("corral"))
    command = [corral, "quantize", "demo", "--type", type_, "--out", str(folder), "--force"]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return folder / f"demo.{type_}.gguf"


def random_model(sources: Path, shape: str, folder: Path, type_: str, *, successor: bool = False) -> Path:
    """Return a random-weight file of `shape`, made at the first call; `successor` as in random_model."""
    made = folder / f"{'successor' if successor else 'random'}-{shape}.{type_}.gguf"
    if not made.exists():
        say(f"making {made.name}, once")
        half, partial = made.with_suffix(".f16"), made.with_suffix(".partial")
        try:
            write_random_llama(sources / VOCABULARY, half, SHAPES[shape], successor=successor)
            quantize_file(half, partial, FTYPES[type_], os.cpu_count() or 1)
            partial.rename(made)
        finally:
            half.unlink(missing_ok=True)
            partial.unlink(missing_ok=True)
    return made


def measure(name: str, model: Path, options: Sequence[str], results: Path) -> int:
    """Run bench.side_by_side in a process of its own, without the memory that making models left in this one.

    Its report goes to stdout and to a file; returns its exit code.
    """
    command = [sys.executable, "-m", "bench.side_by_side", "--model", str(model), *options]
    command += ["--json", str(results / f"{name}.json"), "--logs", str(results / "logs" / name)]
    print(f"\n## {name}\n", flush=True)
    with (
        (results / f"{name}.md").open("w", encoding="utf-8") as file,
        # Of a session of its own: Ctrl-C reaches it through us, once.
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                print(line, end="", flush=True)
        except BaseException:
            process.send_signal(signal.SIGINT)
            raise
    return process.returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Corral beside its peers")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="some of the models")
    parser.add_argument("--type", choices=FTYPES, default=TYPE, metavar="TYPE", help=f"of the files ({TYPE})")
    parser.add_argument("--results", type=Path, default=Path("bench-results"), help="folder for the results")
    parser.add_argument("--llama-server", type=Path, help="a llama-server that is built already")
    parser.add_argument(
        "--ik-source",
        type=Path,
        default=os.environ.get(peers.IK_VARIABLE) or None,
        help=f"folder of ik_llama.cpp's sources, which is built and measured, too ({peers.IK_VARIABLE})",
    )
    parser.add_argument("extra", nargs="*", help="options of bench.side_by_side, after --")
    args = parser.parse_args()
    ends_by_sigterm()
    source = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")
    if not source:
        print("CORRAL_LLAMA_CPP_SOURCE isn't set: use `make bench`, which sets it", file=sys.stderr)
        return 2
    try:
        return run(Path(source), args)
    except (SetUpError, compiler.CompilerMissing, CorralError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; builds go on from here the next time", file=sys.stderr)
        return 130


def run(source: Path, args: argparse.Namespace) -> int:
    """Run everything; return the worst of the measurements' exit codes."""
    folder = wheel_cache.cache_root().parent / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    args.results.mkdir(parents=True, exist_ok=True)
    with redirect_stdout(sys.stderr):  # stdout is for the report
        environ = build_environment()
        server = args.llama_server or peers.llama_server(source, environ)
        ik_server = peers.ik_llama_server(args.ik_source, environ) if args.ik_source else None
        python = peers.llama_cpp_python(environ)
    options = ["--llama-server", str(server), "--peer-python", str(python)]
    options += [*(["--ik-server", str(ik_server)] if ik_server else []), *args.extra]
    codes = [0]
    for name in args.only:
        with redirect_stdout(sys.stderr):
            if name == DEMO:
                model, edit = demo_model(folder, args.type), []
            else:
                model = random_model(source, name, folder, args.type)
                edited = random_model(source, name, folder, args.type, successor=True)
                edit = ["--edit-model", str(edited)]
        codes.append(
            measure(
                name if args.type == TYPE else f"{name}-{args.type}", model, [*edit, *options], args.results
            )
        )
    return max(codes)


def build_environment() -> dict[str, str]:
    """Return the environment, with the CMAKE_ARGS and CXX that the bindings under test were built with."""
    args, cxx = build_settings(read_stamp(ROOT / PURPOSES["dev"].folder), os.environ)
    return {**os.environ, "CMAKE_ARGS": args, **({"CXX": cxx} if cxx else {})}


if __name__ == "__main__":
    sys.exit(main())
