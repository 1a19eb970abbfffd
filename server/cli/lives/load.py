"""The command `corral load`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from server.cli.clients.options import ServerAddress
from server.cli.option_groups import with_option_groups


@with_option_groups
def command(
    reference: Annotated[
        str, typer.Argument(metavar="REF", help="A model of the server: name or name:TYPE.")
    ],
    *,
    address: ServerAddress,
    pin: Annotated[bool, typer.Option("--pin", help="It is never unloaded but by corral unload.")] = False,
    keep_alive: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="It is unloaded after so long without a request: 5m, seconds, -1: never."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Load a model in a running server.

    Waits until it is ready. Idle models that aren't pinned are unloaded for it where memory is short.
    """
    from models.parse_duration import parse_duration
    from server.cli.console import duration, print_json, say, size
    from server.cli.lives.answers import listed_name, manage, model_path

    body: dict[str, Any] = {"pin": True} if pin else {}
    if keep_alive is not None:
        parse_duration(keep_alive)
        body["keep_alive"] = keep_alive
    connection = address.connection()
    name = listed_name(connection, reference)
    model = manage(connection, "POST", model_path(name, "load"), body)
    if as_json:
        print_json(model)
        return
    memory = "" if model["memory_bytes"] is None else f", {size(model['memory_bytes'])} of memory"
    load_s = "" if model["load_s"] is None else f" (loaded in {duration(model['load_s'])})"
    say(f"{model['id']} is {model['state']}{memory}{load_s}{', pinned' if model['pinned'] else ''}")
