"""The command `corral cluster down`."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A deployment, or an alias; not set: all of them."),
    ] = None,
) -> None:
    """End a deployment of the cluster, or all of them; the machines stay in it.

    Requests that run may finish first.
    """
    from server.cli.cluster.connection import connected
    from server.cli.console import say

    with connected() as cluster:
        plan = cluster.plan()
        if name is None:
            cluster.end_serve()
            say(f"ended: {', '.join(plan.deployments) or 'nothing was deployed'}")
            return
        cluster.keep(plan.without(name))
        if name in plan.deployments:
            cluster.remove([name])
        say(f"ended: {name}")
