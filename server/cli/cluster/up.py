"""The command `corral cluster up`."""

from __future__ import annotations

from typing import Annotated

import typer

from server.cli.cluster.private_network import PrivateNetwork


def command(
    address: Annotated[
        str,
        typer.Option(
            "--address",
            metavar="IP[:PORT]",
            help="This machine's address in the network between the machines; the port is 6379 by default.",
        ),
    ],
    network_is_private: PrivateNetwork = False,
) -> None:
    """Make a cluster, with its head on this machine.

    Ray runs in the background until `corral cluster leave`. A secret is written to a file, which only its
    owner can read, unless one is there; the line for the other machines is printed. Whoever has the secret
    runs code on all machines of the cluster: see docs/cluster.md.
    """
    import ipaddress

    from server.cli.cluster.connection import end_as_ctrl_c_does, node_here
    from server.cli.console import say
    from server.cluster.addresses import checked_node_ip, joined_address, split_address

    node = node_here()
    node.require_absent()
    host, port = split_address(address)
    node_ip = checked_node_ip(host, network_is_private=network_is_private)
    if ipaddress.ip_address(node_ip).is_loopback:
        say(f"{node_ip} is this machine alone: no other one can join; Ray listens on all addresses even so")
    node.make_token()
    end_as_ctrl_c_does()
    record = node.start(joined_address(node_ip, port), node_ip, is_head=True, say=say)
    say(f"the cluster's head runs at {record.address}; its secret is in {node.token_file}")
    say("on each other machine, with a copy of that file:")
    typer.echo(f"corral cluster join {address} --token-file {node.token_file}")
