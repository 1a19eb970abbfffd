"""The command `corral keys rotate`."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the key.")],
    *,
    overlap: Annotated[
        str, typer.Option(metavar="SPAN", help="Time for which the key as it was stays good: 30m, 1h, 2d.")
    ] = "0s",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Replace a key by a new one with the same name, rights, limits and usage, and print it."""
    from server.cli.keys.output import key_file, print_secret
    from server.keys.times import read_span

    key, secret = key_file().rotate(name, read_span(overlap, "--overlap"))
    print_secret(key, secret, as_json=as_json)
