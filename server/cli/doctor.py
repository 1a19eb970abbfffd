"""The command `corral doctor`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from models.doctor import Check

MARKS = {"ok": "[green]ok[/]     ", "warning": "[yellow]warning[/]", "fail": "[red]FAIL[/]   "}


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check what this machine can do, with a fix for what it can't.

    Processor, memory, disk, GPUs, how llama.cpp was built, and a self-test of it in a process of its own.
    Exits with 1 if a check fails.
    """
    from models.doctor import Status, checks
    from server.cli.console import print_json

    results = []
    for check in checks():
        results.append(check)
        if not as_json:
            _print(check)
    if as_json:
        print_json([asdict(check) for check in results])
    if any(check.status is Status.FAIL for check in results):
        raise typer.Exit(1)


def _print(check: Check) -> None:
    """Print a check as soon as it is done: some take seconds."""
    from rich.markup import escape

    from server.cli.console import out

    console = out()
    console.print(f"{MARKS[check.status]}  [bold]{escape(check.name):<12}[/]  {escape(check.fact)}")
    if check.fix:
        console.print(f"{'':23}[bold]fix:[/] {escape(check.fix)}")
