"""The servers that compute a part of a split model: asked what they have, then connected to.

Nobody else of Corral connects to them while a worker has them, as each serves one client at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from models.errors import ModelLoadError
from models.llamacpp import rpc
from models.llamacpp.remote_layers import RemoteLayers
from models.machine.fit import format_bytes
from models.rpc.address import ServerAddress
from models.rpc.probe import MEMORY_SHARE, RpcServer, devices_of, probe_all
from server.placement.placement import Placement
from server.serve_options import ServeOptions

logger = logging.getLogger("corral.worker")


def ask_servers(options: ServeOptions) -> tuple[RpcServer, ...]:
    """Return what the servers of `split` answer, which takes two seconds at most; nothing without any.

    Raises RpcServerError: one is absent, busy, or another than needed.
    """
    if not options.split:
        return ()
    if options.gpu_layers == 0:
        raise ModelLoadError("--split names servers for layers, and --gpu-layers is 0; leave one of them out")
    return probe_all([ServerAddress.parse(text) for text in options.split])


def connect(servers: Sequence[RpcServer], placement: Placement, options: ServeOptions) -> RemoteLayers | None:
    """Connect to the servers and return their devices for llama.cpp; None without any.

    Raises ModelLoadError: the layers that were chosen don't fit, or none does; LlamaCppError: this llama.cpp
    has no RPC back end.
    """
    if not servers:
        return None
    devices = devices_of(servers)
    n_layers, n_all = placement.gpu_layers, placement.model.n_layer + 1
    room = format_bytes(sum(device.memory_free for device in devices))
    if n_layers == 0 or (options.gpu_layers != "auto" and not placement.gpu_layers_fit):
        layers = "not even one layer fits" if n_layers == 0 else f"{n_layers} layers don't fit"
        raise ModelLoadError(
            f"{layers} the servers of --split, which have {room} for it ({MEMORY_SHARE:.0%} of their memory);"
            " name more servers, choose a smaller type, or lower --ctx, --parallel or --gpu-layers"
        )
    remote = RemoteLayers(
        rpc.connect([server.address for server in servers]), [device.memory_free for device in devices]
    )
    logger.info(
        "%d of %d layers go to %s, the output matrix stays here",
        min(n_layers, n_all - 1),
        n_all - 1,
        ", ".join(server.address for server in servers),
    )
    return remote
