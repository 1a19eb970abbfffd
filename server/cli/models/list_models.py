"""The command `corral list`."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models that are here.

    One line per type: size, bits per weight, where it came from, its kind, its prompt format, and whether it
    fits into this machine's memory at the default context.
    """
    from models.machine.host_memory import memory
    from models.paths import Paths
    from models.store.store import ModelStore
    from server.cli.console import plain_table, print_json, print_table, say, size
    from server.cli.models.model_rows import type_rows

    paths = Paths.from_environment()
    listing = ModelStore(paths).scan()
    for problem in listing.problems:
        say(f"corral: {problem}")
    available = memory().available_bytes
    rows = [row for model in listing.models for row in type_rows(model, available)]
    if as_json:
        print_json(rows)
        return
    if not rows:
        say(f"no models in {paths.home}; make one: corral quantize demo")
        return
    table = plain_table(
        "MODEL", "SIZE", "BITS/W", "SOURCE", "KIND", "FORMAT", "FITS", right=("SIZE", "BITS/W")
    )
    for row in rows:
        table.add_row(
            f"{row['name']}:{row['type']}",
            size(row["size_bytes"]),
            _bits(row["bits_per_weight"]),
            row["source"],
            row["kind"] or "?",
            row["prompt_format"] or "-",
            _fits(row),
        )
    print_table(table)
    shared = sum(row["size_bytes"] - row["own_bytes"] for row in rows)
    if shared:
        say(
            f"{size(sum(row['size_bytes'] for row in rows))} in all, {size(shared)} of it files that other"
            " programs have, too"
        )


def _bits(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _fits(row: dict[str, Any]) -> str:
    if row["fits"] is None:
        return "?"
    return "yes" if row["fits"] else "no"
