"""The command `corral keys list`."""

from __future__ import annotations

from typing import Annotated

import typer


def command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the keys with their rights and limits; the keys themselves can't be shown."""
    import time

    from server.cli.console import plain_table, print_json, print_table, say
    from server.cli.keys.output import key_file
    from server.keys.times import shown_time

    file = key_file()
    keys = file.read()
    if as_json:
        print_json([key.description() for key in keys])
        return
    if not keys:
        say(f"no keys in {file.path}; add one: corral keys add NAME")
        return
    right = ("REQ/MIN", "TOK/MIN", "STREAMS")
    table = plain_table("NAME", "SCOPES", "MODELS", *right, "EXPIRES", right=right)
    for key in keys:
        limits = (key.limits.requests_per_minute, key.limits.tokens_per_minute, key.limits.streams)
        end = "-" if key.expires is None else shown_time(key.expires)
        table.add_row(
            key.name,
            ",".join(key.scopes),
            " ".join(key.models),
            *("-" if limit is None else f"{limit:,}" for limit in limits),
            f"{end} (expired)" if key.has_expired(time.time()) else end,
        )
    print_table(table)
