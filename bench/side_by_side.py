"""Corral beside llama-server, `llama_cpp.server` and ik_llama.cpp: interleaved, medians of ratios.

    python -m bench.side_by_side --model MODEL.gguf --llama-server BIN [--peer-python PY] [--loads streams …]

In each round every server gets the same load, in an order that rotates from round to round, with prompts
never seen before. A round's ratio is Corral's figure over the peer's in that round, so that a slow minute of
the machine weighs on both sides. Before a round it waits, for a bounded time, until other processes leave the
machine alone; a measurement that they disturbed all the same is counted in the report, never dropped.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import psutil

from bench import report, servers
from bench.loads import NAMES, Load, Sizes, loads_named
from bench.machine import describe
from bench.rounds import Measurement, Rounds, say
from models.gguf.info import read_gguf_info

END_TOKENS = {f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom")}
MOST_TOKENS_PER_WORD = 1.75
UNSPECULATED = "--speculate off"
WITHOUT_KERNELS = "--kernels off"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Corral beside its peers, interleaved")
    parser.add_argument("--model", type=Path, required=True, help="GGUF that all servers load")
    parser.add_argument("--corral", type=Path, default=servers.INSTALLED, help="the corral to measure")
    parser.add_argument("--baseline", type=Path, help="the corral of another commit, measured in addition")
    parser.add_argument("--llama-server", type=Path, help="llama-server binary")
    parser.add_argument("--ik-server", type=Path, help="llama-server binary of ik_llama.cpp, one more peer")
    parser.add_argument(
        "--edit-model", type=Path, help="GGUF for the load `repetitive` (random_model --successor)"
    )
    parser.add_argument("--peer-python", type=Path, help="Python with llama-cpp-python[server]")
    parser.add_argument("--loads", nargs="+", choices=NAMES, help="which loads (all that can be run here)")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 8, 16], help="of the load `streams`")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--layouts",
        nargs="*",
        choices=["separate", "unified"],
        default=["separate", "unified"],
        help="llama-server's KV layouts to run; none: Corral alone",
    )
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="NAME:FLAGS",
        help="one more Corral, started with FLAGS too",
    )
    parser.add_argument(
        "--without-kernels", action="store_true", help="one more Corral, with llama.cpp's matrix kernels"
    )
    parser.add_argument("--cache-type", choices=["f16", "q8_0"], default="f16", help="of keys and values")
    parser.add_argument("--corral-flags", default="", help="more flags for `corral serve`")
    for one in fields(Sizes):
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=int, default=one.default)
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1)
    parser.add_argument("--quiet-wait", type=float, default=120.0, help="most seconds to wait for quiet")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the prompts")
    parser.add_argument("--logs", type=Path, default=Path("bench-results/logs"), help="the servers' output")
    parser.add_argument("--json", type=Path, help="write every measurement here")
    args = parser.parse_args(arguments)
    args.model = args.model.resolve()
    args.edit_model = args.edit_model.resolve() if args.edit_model else None
    for variant in args.variant:
        if not variant.partition(":")[0].strip() or not variant.partition(":")[2].strip():
            parser.error(f"--variant {variant}: write NAME:FLAGS")
    if args.loads is None:
        args.loads = [name for name in NAMES if runnable(name, args)]
    for name in args.loads:
        if not runnable(name, args):
            parser.error(f"the load {name} needs {NEEDS[name]}")
    return args


LLAMA_SERVER = "--llama-server, or --layouts without a value"
NEEDS = {
    **dict.fromkeys(NAMES, LLAMA_SERVER),
    "python-server": "--peer-python",
    "repetitive": f"--edit-model, and {LLAMA_SERVER}",
}


def runnable(name: str, args: argparse.Namespace) -> bool:
    """True if the peers of the load are at hand."""
    if name == "python-server":
        return args.peer_python is not None
    if name == "repetitive" and args.edit_model is None:
        return False
    return args.llama_server is not None or not args.layouts


def sizes_of(args: argparse.Namespace, n_ctx_train: int | None) -> Sizes:
    """Return the loads' sizes; long prompts get shorter where they don't fit the model's context."""
    sizes = Sizes(**{one.name: getattr(args, one.name) for one in fields(Sizes)})
    if n_ctx_train is None:
        return sizes
    room = n_ctx_train - sizes.long_tokens
    return replace(
        sizes,
        long_words=min(sizes.long_words, int(room / MOST_TOKENS_PER_WORD)),
        prompt_tokens=min(sizes.prompt_tokens, room - sizes.long_tokens),
    )


def servers_of(load: Load, args: argparse.Namespace) -> list[servers.Server]:
    """Return the servers of a load, Corral first."""
    ours, theirs = servers.cache_flags(args.cache_type)
    flags = [*ours, *shlex.split(args.corral_flags)]
    common = model_of(load, args), load.room, args.threads
    rivals = [servers.corral(args.corral, *common, flags=flags)]
    if args.baseline is not None:
        rivals.append(servers.corral(args.baseline, *common, name=servers.BASELINE, flags=flags))
    variants = [one.split(":", 1) for one in args.variant]
    if args.without_kernels:
        variants.insert(0, [WITHOUT_KERNELS, WITHOUT_KERNELS])
    if load.edits:
        variants.insert(0, [UNSPECULATED, UNSPECULATED])
    rivals += [
        servers.corral(args.corral, *common, name=f"corral {name}", flags=[*flags, *shlex.split(more)])
        for name, more in variants
    ]
    if load.peers == "python-server":
        return [*rivals, servers.llama_cpp_server(args.peer_python, *common, args.eos)]
    rivals += [
        servers.llama_server(args.llama_server, *common, unified=layout == "unified", flags=theirs)
        for layout in args.layouts
    ]
    return rivals + ([servers.ik_server(args.ik_server, *common, flags=theirs)] if args.ik_server else [])


def model_of(load: Load, args: argparse.Namespace) -> Path:
    """Return the model that a load is for."""
    model: Path = args.edit_model if load.edits else args.model
    return model


def main() -> int:
    args = parse()
    args.logs.mkdir(parents=True, exist_ok=True)
    info = read_gguf_info(args.model)
    args.eos = [value for key, value in info.metadata.items() if key in END_TOKENS]
    sizes = sizes_of(args, info.n_ctx_train)
    loads = loads_named(args.loads, args.streams, sizes)
    rounds = Rounds(
        lambda load: model_of(load, args).stem,
        lambda load: servers_of(load, args),
        args.rounds,
        args.seed,
        args.logs,
        args.quiet_wait,
    )
    measurements: list[Measurement] = []
    failed = interrupted = False
    for load in loads:
        say(f"{load.name}: {load.title}")
        try:
            measurements += rounds.run(load)
        except RuntimeError as error:
            failed = True
            print(f"{load.title}: not measured: {error}\n", flush=True)
            continue
        except KeyboardInterrupt:
            interrupted = True
            break
        print(report.load_section(load, measurements) + "\n", flush=True)
        if args.json is not None:
            write_json(args, loads, measurements, rounds)
    print(report.summary(loads, measurements))
    print(f"\n{report.disturbances(measurements)}")
    if interrupted:
        return 130
    return 1 if failed or any(one.error is not None for one in measurements) else 0


def write_json(
    args: argparse.Namespace, loads: Sequence[Load], measurements: Sequence[Measurement], rounds: Rounds
) -> None:
    """Write all measurements so far; after each load, so that an interruption loses one at most."""
    document = {
        "command": shlex.join(["python", "-m", "bench.side_by_side", *sys.argv[1:]]),
        "machine": describe(args.llama_server, args.ik_server),
        "model": {"path": str(args.model), "bytes": args.model.stat().st_size},
        "seed": args.seed,
        "servers": rounds.commands,
        "verdicts": [one.to_json() for load in loads for one in report.verdicts(load, measurements)],
        "measurements": [asdict(one) for one in measurements],
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
