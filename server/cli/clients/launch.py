"""The command `corral launch`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.cli.clients.options import ClientArgument, ContextOption, ServerOptions
from server.cli.option_groups import with_option_groups

if TYPE_CHECKING:
    from server.clients.client import Target
    from server.clients.launch import Launch
    from server.clients.user_files import UserFiles


@with_option_groups
def command(
    client: ClientArgument,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGS", help="The client's own arguments; after -- all are the client's."),
    ] = None,
    *,
    server: ServerOptions,
    context: ContextOption = None,
    only_print: Annotated[
        bool, typer.Option("--print", help="Print what would be set and started; change nothing.")
    ] = False,
    restore: Annotated[
        bool, typer.Option("--restore", help="Put back the files of yours that were changed for the client.")
    ] = False,
) -> None:
    """Start a client that is set up for a running server.

    The client gets settings of its own, in its environment and in a folder of CORRAL_HOME, so that yours
    stay as they are. Zed reads one file only: that one is changed, and --restore puts it back as it was.
    The server is the one that `corral serve` runs with this machine's settings, or the one at --url.
    """
    import os

    from models.paths import Paths
    from server.clients.registry import client_named
    from server.clients.user_files import UserFiles

    found = client_named(client)
    folder = Paths.from_environment().clients_dir / client
    backups = UserFiles(folder / "backups")
    if restore:
        _restore(found.title, backups)
        return
    from server.clients.launch import check_context, find_program, plan
    from server.clients.running_server import find_target
    from server.clients.trust import trust_variables

    given = tuple(arguments or ())
    connection = server.connection()
    target = find_target(connection, found, server.model, context)
    check_context(found, client, target, given)
    home = Path(os.environ.get("HOME") or Path.home())
    launch = plan(found, client, target, folder / "settings", home, given)
    trusting = trust_variables(connection.ca)
    if only_print:
        _print(launch, target, trusting)
        return
    program = find_program(found, os.environ.get("PATH"))
    launch.prepare(backups)
    _tell(launch, client)
    os.execve(  # noqa: S606 - the client takes this process's place: its signals, terminal and exit code
        program,
        [program, *launch.arguments],
        launch.full_environment({**os.environ, **trusting}, connection.api_key),
    )


def _restore(title: str, backups: UserFiles) -> None:
    from server.cli.console import say

    restored = backups.restore()
    if not restored:
        say(f"nothing to restore: no file of yours was changed for {title}")
    for one in restored:
        say(f"{one.path} is removed, as it wasn't there" if one.removed else f"{one.path} is as it was")
        if one.kept is not None:
            say(f"it had been changed since; that version is {one.kept}")


def _tell(launch: Launch, client: str) -> None:
    from server.cli.console import say

    for file in launch.files:
        if file.is_users:
            say(f"{file.path} is changed; corral launch {client} --restore puts it back")


def _print(launch: Launch, target: Target, trusting: Mapping[str, str]) -> None:
    import sys

    from server.clients.instructions import export_lines

    lines = [f"unset {name}" for name in launch.unset]
    environment = {**launch.environment, **trusting}
    lines += export_lines(environment, launch.key_variables, needs_key=target.needs_key)
    for file in launch.files:
        lines += ["", f"# {file.path}" + (" (yours; a backup is kept)" if file.is_users else "")]
        lines.append(file.text.rstrip("\n"))
    sys.stdout.write("\n".join([*lines, "", launch.command_line()]) + "\n")
