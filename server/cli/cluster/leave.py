"""The command `corral cluster leave`."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    force: Annotated[
        bool, typer.Option("--force", help="End the cluster's head also while models are deployed.")
    ] = False,
) -> None:
    """Take this machine out of its cluster.

    Its replicas' requests may finish, others take over what comes. A cluster ends with its head: models have
    to be taken down first, unless it is forced.
    """
    from models.errors import ConfigError, CorralError
    from server.cli.cluster.connection import connected, node_here, running_node
    from server.cli.console import say
    from server.cluster.node import DRAIN_S

    node = node_here()
    record = running_node()
    if record.is_head and not force:
        try:
            with connected() as cluster:
                names = [*cluster.plan().deployments]
        except CorralError as error:
            say(f"corral: {error.message}; it is ended as it is")
            names = []
        if names:
            raise ConfigError(
                f"this machine is the head, and the cluster ends with it; deployed are {', '.join(names)}:"
                " corral cluster down, or leave with --force"
            )
    say("ending Ray on this machine")
    node.stop(10.0 if record.is_head else DRAIN_S + 15.0)
    say("this machine is in no cluster")
