"""The command `corral cluster join`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from server.cli.cluster.private_network import PrivateNetwork


def command(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The head's address: IP, or IP:PORT.")],
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="A copy of the head's secret; not set: the one of the last time.",
        ),
    ] = None,
    node_ip: Annotated[
        str | None,
        typer.Option(
            "--node-ip",
            metavar="IP",
            help="The address by which the others reach this machine; not set: the one from which it reaches"
            " the head.",
        ),
    ] = None,
    network_is_private: PrivateNetwork = False,
) -> None:
    """Take this machine into a cluster.

    Ray runs in the background until `corral cluster leave`. All machines need the same versions of Corral,
    Ray and Python.
    """
    from models.errors import ConfigError
    from server.cli.cluster.connection import end_as_ctrl_c_does, node_here
    from server.cli.console import say
    from server.cluster.addresses import address_towards, checked_node_ip, joined_address, split_address
    from server.cluster.node import secret_in

    node = node_here()
    node.require_absent()
    secret = None if token_file is None else secret_in(token_file)
    if secret is None and not node.token_file.is_file():
        raise ConfigError("--token-file is missing: copy the file that corral cluster up named, and name it")
    towards = address_towards(address)  # the head has to answer before its secret takes the place of another
    here = checked_node_ip(node_ip or towards, network_is_private=network_is_private)
    if secret is not None:
        node.take_token(secret)
    end_as_ctrl_c_does()
    record = node.start(joined_address(*split_address(address)), here, is_head=False, say=say)
    say(f"this machine, {record.node_ip}, is in the cluster at {record.address}")
