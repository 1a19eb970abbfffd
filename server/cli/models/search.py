"""The command `corral search`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from models.hub.search import HubModel

BITS_PER_WEIGHT = 4.9
"""A Q4_K_M file has about so many bits per weight; of weights that aren't quantized yet it is an estimate."""

ROOM = 1.2
"""Served, a model takes about so many times its file: the KV cache and the working memory come to it."""

MOST_SHOWN = 100


def command(
    words: Annotated[list[str], typer.Argument(metavar="TEXT", help="Words in a model's name.")],
    limit: Annotated[int, typer.Option(min=1, max=MOST_SHOWN, metavar="N", help="Most models to list.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Search the Hub for models by their names.

    Those most downloaded come first. SIZE is that of the file that `corral run` would serve: a ready GGUF, or
    what Q4_K_M would make of the weights, about. FITS tells whether that and a fifth more is free in this
    machine's memory.
    """
    from models.hub.search import search
    from models.machine.host_memory import memory
    from server.cli.console import plain_table, print_json, print_table, say

    available = memory().available_bytes
    text = " ".join(words)
    rows = [_row(model, available) for model in search(text, limit)]
    if as_json:
        print_json(rows)
        return
    if not rows:
        say(f"nothing on the Hub is called {text}; try fewer words")
        return
    table = plain_table("MODEL", "DOWNLOADS", "SIZE", "OF", "FITS", right=("DOWNLOADS", "SIZE"))
    for row in rows:
        table.add_row(*_cells(row))
    print_table(table)
    for row in rows:
        if row["problem"]:
            say(f"corral: {row['problem']}")
    usable = next((row["name"] for row in rows if row["fits"]), None)
    if usable is not None:
        say(f"serve or talk to one: corral run {usable}")


def _row(model: HubModel, available_bytes: int) -> dict[str, Any]:
    served_type, served_bytes = _served(model)
    return {
        "name": model.repo,
        "downloads": model.downloads,
        "likes": model.likes,
        "gated": model.is_gated,
        "updated": model.updated,
        "ggufs": [{"type": type_, "size_bytes": n_bytes} for type_, n_bytes in model.ggufs.items()],
        "parameters": model.parameters,
        "weights_bytes": model.weights_bytes,
        "type": served_type,
        "size_bytes": served_bytes,
        "fits": None if served_bytes is None else served_bytes * ROOM <= available_bytes,
        "problem": model.problem,
    }


def _served(model: HubModel) -> tuple[str | None, int | None]:
    """Return the type that would be served of a plain name, and its bytes, about."""
    from models.quantization_types import PREFERRED_TYPES

    if model.weights_bytes is not None:
        n_weights = model.parameters or model.weights_bytes // 2  # most have 16 bits
        return "Q4_K_M", int(n_weights / 8 * BITS_PER_WEIGHT)
    type_ = next((one for one in (*PREFERRED_TYPES, *model.ggufs) if one in model.ggufs), None)
    return type_, None if type_ is None else model.ggufs[type_]


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    from server.cli.console import size

    if row["size_bytes"] is None:
        return row["name"], f"{row['downloads']:,}", "-", "-", "-"
    n_ggufs = len(row["ggufs"])
    if row["weights_bytes"] is not None:
        of = f"{size(row['weights_bytes'])} of weights, as {row['type']}"
    else:
        of = f"{row['type']}, one of {n_ggufs} types" if n_ggufs > 1 else str(row["type"])
    gated = ", gated" if row["gated"] else ""
    about = "about " if row["weights_bytes"] is not None else ""
    return (
        row["name"],
        f"{row['downloads']:,}",
        f"{about}{size(row['size_bytes'])}",
        f"{of}{gated}",
        "yes" if row["fits"] else "no",
    )
