"""The command `corral doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from server.cli.clients.options import ServerOptions
from server.cli.option_groups import with_option_groups

if TYPE_CHECKING:
    from models.doctor import Check

MARKS = {"ok": "[green]ok[/]     ", "warning": "[yellow]warning[/]", "fail": "[red]FAIL[/]   "}


@with_option_groups
def command(
    *,
    client: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Examine a running server for this client: claude, codex …"),
    ] = None,
    server: ServerOptions,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check this machine, or a server for a client; say each fix.

    Processor, memory, disk, GPUs, how llama.cpp was built, a self-test of it in a process of its own, and
    the matrix kernels in use.
    With --client it sends that client's kinds of requests, small ones, to a running server instead.
    Exits with 1 if a check fails.
    """
    from models.doctor import Status
    from server.cli.console import print_json

    results = []
    for check in _checks(client, server):
        results.append(check)
        if not as_json:
            _print(check, 26 if client else 12)
    if as_json:
        print_json([asdict(check) for check in results])
    if any(check.status is Status.FAIL for check in results):
        raise typer.Exit(1)


def _checks(client: str | None, server: ServerOptions) -> Iterator[Check]:
    """Return the checks of this machine, or those of a server for a client. Raises ConfigError."""
    if client is not None:
        from server.clients.examination import examine
        from server.clients.registry import client_named

        return examine(client_named(client), server.connection(), server.model)
    from models.errors import ConfigError

    if any(value is not None for value in asdict(server).values()):
        raise ConfigError(
            "--url, --model and --api-key are of a server; name the client that it shall serve with --client"
        )
    return _checks_of_machine()


def _checks_of_machine() -> Iterator[Check]:
    from models.doctor import Status, checks
    from models.doctor.machine import LIBRARY
    from server.kernels import doctor as kernels

    runs = True
    for check in checks():
        runs = runs and not (check.name == LIBRARY and check.status is Status.FAIL)
        yield check
    yield kernels.check() if runs else kernels.unchecked()


def _print(check: Check, width: int) -> None:
    """Print a check as soon as it is done: some take seconds."""
    from rich.markup import escape

    from server.cli.console import out

    console = out()
    fact = " ".join(check.fact.split())
    console.print(f"{MARKS[check.status]}  [bold]{escape(check.name):<{width}}[/]  {escape(fact)}")
    if check.fix:
        console.print(f"{'':{width + 11}}[bold]fix:[/] {escape(check.fix)}")
