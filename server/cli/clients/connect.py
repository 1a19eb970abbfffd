"""The command `corral connect`."""

from __future__ import annotations

from typing import Annotated

import typer

from server.cli.clients.options import ClientArgument, ContextOption, ServerOptions
from server.cli.option_groups import with_option_groups


@with_option_groups
def command(
    client: ClientArgument,
    *,
    server: ServerOptions,
    context: ContextOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print what to set so that a client uses a running server.

    Lines for a shell, the client's settings files, and what can only be done by hand. Nothing is changed, and
    a key is never printed: the lines take it from CORRAL_API_KEY. `corral launch` does the same by itself.
    """
    import sys

    from models.errors import ConfigError
    from server.cli.console import print_json, say
    from server.clients.instructions import Instructions
    from server.clients.launch import check_context
    from server.clients.registry import client_named
    from server.clients.running_server import find_target
    from server.clients.trust import trust_variables

    found = client_named(client)
    connection = server.connection()
    target = find_target(connection, found, server.model, context)
    instructions = Instructions(client, found, target)
    if as_json:
        print_json(instructions.document())
    else:
        sys.stdout.write(instructions.text())
        for name, value in trust_variables(connection.ca).items():
            say(f"programs on Node trust that certificate with {name}={value}; others by the system's store")
    try:
        check_context(found, client, target, ())
    except ConfigError as error:
        say(f"warning: {error.message}")
