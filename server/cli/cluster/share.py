"""The command `corral cluster share`."""

from __future__ import annotations

from typing import Annotated

import typer

MAX_THREADS = 512
"""ggml computes with no more."""


def command(
    *,
    bind: Annotated[
        str, typer.Option("--bind", metavar="HOST:PORT", help="Address to listen at.")
    ] = "127.0.0.1:50052",
    devices: Annotated[
        list[str] | None,
        typer.Option(
            "--device",
            metavar="NAME",
            help="Device to serve: CUDA0, CPU, …; repeatable.  [default: the GPUs, else the CPU]",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            min=1,
            max=MAX_THREADS,
            metavar="N",
            help="Threads of a CPU.  [default: one per core]",
        ),
    ] = None,
    cache: Annotated[
        bool,
        typer.Option(
            "--cache", help="Keep large tensors on this disk, so that the next load needn't send them."
        ),
    ] = False,
    network_is_private: Annotated[
        bool,
        typer.Option(
            "--network-is-private",
            help="Listen where others could connect: only your machines are in that network.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Log lines are JSON.")] = False,
) -> None:
    """Serve this machine's memory and devices to a Corral elsewhere: corral serve MODEL --split HOST:PORT.

    For a model that is too large for one machine. One client at a time; it sends the weights of its layers
    when it loads the model. There is no password and no encryption: whoever reaches the port can read and
    change what is computed, so it is for loopback and a tunnel (docs/split-models.md). Ctrl-C ends it.
    """
    import logging
    import signal

    from models.errors import ConfigError
    from models.machine.hardware import usable_cores
    from models.paths import Paths
    from models.rpc.address import ServerAddress, require_private
    from server.cli.console import log_to_stderr
    from server.cluster.sharing.messages import ShareJob
    from server.cluster.sharing.share import Share, numeric

    address = ServerAddress.parse(bind)
    require_private(address, network_is_private=network_is_private)
    names = tuple(name.strip() for text in devices or () for name in text.split(",") if name.strip())
    if devices and not names:
        raise ConfigError("--device names no device; leave it out, or give CPU or CUDA0")
    log_to_stderr("info", "json" if as_json else "text")
    folder = None
    if cache:
        path = Paths.from_environment().rpc_cache_dir
        path.mkdir(parents=True, exist_ok=True)
        folder = str(path)
    share = Share(ShareJob(numeric(address), threads or usable_cores()[0], names, folder))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        share.run()
    except KeyboardInterrupt:
        logging.getLogger("corral.share").info("ended")
    finally:
        share.stop()
