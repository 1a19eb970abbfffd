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

    Downloads in the Hugging Face cache stay: they belong to all its tools, and so do the files of imported
    models to the other program. A model that is being served is refused. REF is a whole name, or its last
    part where that is one model's.
    """
    from models.errors import CorralError
    from models.paths import Paths
    from models.store.records import matches
    from models.store.store import ModelStore
    from server.cli.console import say, size
    from server.cli.reference import stored_reference

    store = ModelStore(Paths.from_environment())
    ref = stored_reference(reference, store, "exact")
    listing = store.scan()
    models = [model for model in listing.models if matches(model.manifest, ref)]
    files = [file for model in models for file in model.files_of(ref.type)]
    if not files and not any(problem.startswith(f"{ref.name}:") for problem in listing.problems):
        store.get(ref)  # says what is here instead
    what = f"{ref.name} ({', '.join(dict.fromkeys(file.type for file in files)) or 'no complete file'})"
    freed = size(sum(file.own_bytes for file in files))
    if not yes:
        if not sys.stdin.isatty():
            raise CorralError(f"nobody can be asked whether to remove {what}; add --yes")
        if not typer.confirm(f"Remove {what}, {freed}?", err=True):
            say("nothing removed")
            raise typer.Exit(1)
    store.remove(ref)
    say(f"removed {what}; {freed} are free again")
