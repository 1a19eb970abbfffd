"""`connected`: this machine's connection to its cluster, as a command has it while it runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from models.errors import ConfigError
from models.paths import Paths
from server.cluster.addresses import joined_address, split_address
from server.cluster.node import ClusterNode, NodeRecord, require_ray

if TYPE_CHECKING:
    from server.cluster.ray_serve import RayCluster


def node_here() -> ClusterNode:
    """Return this machine's node. Raises ConfigError where Ray isn't installed."""
    require_ray()
    return ClusterNode.of(Paths.from_environment())


def end_as_ctrl_c_does() -> None:
    """Let SIGTERM, and the terminal's end, raise KeyboardInterrupt: then a Ray that starts is ended, too."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's
            signal.signal(number, signal.default_int_handler)


def running_node(address: str | None = None) -> NodeRecord:
    """Return the node that runs here. Raises ConfigError for none, and for one of another cluster."""
    record = node_here().record()
    if record is None:
        head = "ADDRESS" if address is None else address
        raise ConfigError(
            f"this machine is in no cluster: corral cluster up --address ADDRESS makes one here, corral"
            f" cluster join {head} --token-file FILE takes it into one"
        )
    if address is not None and joined_address(*split_address(address)) != record.address:
        raise ConfigError(
            f"this machine is in the cluster at {record.address}, not in the one at {address}; leave it"
            " first: corral cluster leave"
        )
    return record


@contextmanager
def connected(address: str | None = None) -> Iterator[RayCluster]:
    """Yield a connection by the node that runs here; `address` is the cluster that it has to be of."""
    record = running_node(address)
    os.environ.update(node_here().environment())  # Ray reads it when it is imported
    from server.cluster.ray_serve import RayCluster

    cluster = RayCluster.connect(record)
    try:
        yield cluster
    finally:
        cluster.close()
