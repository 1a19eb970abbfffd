"""The command `corral unload`."""

from __future__ import annotations

from typing import Annotated

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
    force: Annotated[bool, typer.Option("--force", help="End the requests that run in it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Unload a model of a running server.

    What runs in it finishes first. It stays listed, and the next request loads it again.
    """
    from server.cli.console import print_json, say
    from server.cli.lives.answers import listed_name, manage, model_path

    body = {"force": True} if force else {}
    connection = address.connection()
    name = listed_name(connection, reference)
    model = manage(connection, "POST", model_path(name, "unload"), body)
    if as_json:
        print_json(model)
        return
    say(f"{model['id']} is {'unloaded' if model['state'] == 'available' else model['state']}")
