"""`PrivateNetwork`: the flag that lets a machine of a cluster have an address of the open internet."""

from __future__ import annotations

from typing import Annotated

import typer

PrivateNetwork = Annotated[
    bool,
    typer.Option(
        "--network-is-private",
        help="Take an address of the open internet: nobody but the cluster's machines reaches it.",
    ),
]
