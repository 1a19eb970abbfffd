"""The command `corral ps`."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from server.cli.clients.options import ServerAddress
from server.cli.option_groups import with_option_groups


@with_option_groups
def command(
    *,
    address: ServerAddress,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Models that aren't loaded, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: all models.")] = False,
) -> None:
    """Show the models of a running server: state, memory, requests.

    Memory is what the model's process holds. UNTIL says when a model is unloaded if no request comes.
    """
    from server.cli.console import plain_table, print_json, print_table, say, size
    from server.cli.lives.answers import manage

    connection = address.connection()
    models: list[dict[str, Any]] = manage(connection, "GET", "/admin/models")["data"]
    if as_json:
        print_json(models)
        return
    shown = [model for model in models if everything or model["state"] != "available"]
    if not shown:
        say(f"no model is loaded at {connection.url}; corral ps --all lists those that can be")
        return
    right = ("SIZE", "MEMORY", "RUNNING", "WAITING")
    table = plain_table(
        "MODEL", "STATE", "SIZE", "MEMORY", "RUNNING", "WAITING", "IDLE", "UNTIL", right=right
    )
    for model in shown:
        table.add_row(
            model["id"],
            _state(model),
            size(model["size_bytes"]),
            "-" if model["memory_bytes"] is None else size(model["memory_bytes"]),
            str(model["n_running"]),
            str(model["n_waiting"]),
            "-" if model["idle_s"] is None else span(model["idle_s"]),
            _until(model),
        )
    print_table(table)
    for model in shown:
        if model["problem"]:
            say(f"{model['id']}: {model['problem']}")


def _state(model: dict[str, Any]) -> str:
    progress = model["progress"]
    return model["state"] if progress is None else f"{model['state']} {progress:.0%}"


def _until(model: dict[str, Any]) -> str:
    if model["pinned"]:
        return "pinned"
    if model["unloads_at"] is not None:
        return span(max(model["unloads_at"] - time.time(), 0.0))
    return "-" if model["keep_alive_s"] is None else f"{span(model['keep_alive_s'])} idle"


def span(seconds: float) -> str:
    """Return `45s`, `12m` or `3h05m`."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole}s"
    minutes = round(seconds / 60)
    return f"{minutes}m" if minutes < 120 else f"{minutes // 60}h{minutes % 60:02}m"
