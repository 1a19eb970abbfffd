"""The command `corral remove`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def command(
    reference: Annotated[
        str, typer.Argument(metavar="REF", help="org/name removes all types, org/name:TYPE one.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Remove a model, or one type of it.

    Downloads in the Hugging Face cache stay: they belong to all its tools. A model that is being served is
    refused.
    """
    from models.errors import CorralError
    from models.paths import Paths
    from models.reference import ModelRef
    from models.store.store import ModelStore
    from server.cli.console import say, size

    store = ModelStore(Paths.from_environment())
    ref = ModelRef.parse(reference)
    model = store.get(ref)
    files = [file for file in model.types.values() if ref.type in (None, file.type)]
    types = ", ".join(file.type for file in files)
    n_bytes = sum(file.size_bytes for file in files if not file.linked)
    if not yes:
        if not sys.stdin.isatty():
            raise CorralError(f"nobody can be asked whether to remove {model.name} ({types}); add --yes")
        if not typer.confirm(f"Remove {model.name} ({types}), {size(n_bytes)}?", err=True):
            say("nothing removed")
            raise typer.Exit(1)
    removed = store.remove(ref)
    freed = sum(file.size_bytes for file in removed if not file.linked)
    say(f"removed {model.name} ({', '.join(file.type for file in removed)}); {size(freed)} are free again")
