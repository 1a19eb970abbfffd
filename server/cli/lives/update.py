"""The command `corral update`."""

from __future__ import annotations

import time
from typing import Annotated

import typer


def command(
    reference: Annotated[
        str, typer.Argument(metavar="REF", help="A model that is here: all its types, or name:TYPE.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fetch what has changed of a model, and make its types again.

    Only files that changed are fetched. A running server notices: requests that run finish on the old file,
    and none is lost. Without a change nothing is made.
    """
    from models.paths import Paths
    from models.store.store import ModelStore
    from quantize.control import JobControl
    from quantize.job.update import update_model
    from server.cli.console import duration, print_json, say
    from server.cli.progress import byte_progress
    from server.cli.reference import stored_reference

    store = ModelStore(Paths.from_environment())
    ref = stored_reference(reference, store)
    began = time.monotonic()
    with byte_progress("download") as downloaded, byte_progress("quantize") as quantized:
        control = JobControl(
            on_download=lambda state: downloaded(state.bytes_done, state.bytes_total),
            on_progress=lambda state: quantized(state.source_bytes_read, state.source_bytes),
        )
        update = update_model(ref, store, control)
    if as_json:
        print_json(update.document())
    elif update.is_new:
        types = ", ".join(update.types)
        took = duration(time.monotonic() - began)
        say(f"{update.name} is at {(update.new_revision or '')[:8]} now: {types} in {took}")
    else:
        say(f"{update.name} has not changed since {(update.old_revision or '')[:8]}")
