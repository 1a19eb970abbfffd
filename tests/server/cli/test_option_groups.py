from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.testing import CliRunner

from server.cli.option_groups import with_option_groups


@dataclass(frozen=True)
class Paint:
    colour: Annotated[str, typer.Option(help="The colour.")] = "red"
    coats: Annotated[int, typer.Option("--coat", min=1, help="How many coats.")] = 2


def run(*arguments: str) -> tuple[int, Any]:
    calls: list[Any] = []

    @with_option_groups
    def paint(thing: Annotated[str, typer.Argument()], *, paint: Paint, dry: bool = False) -> None:
        """Paint a thing."""
        calls.append((thing, paint, dry))

    app = typer.Typer()
    app.command()(paint)
    return CliRunner().invoke(app, list(arguments)).exit_code, calls


def test_a_group_is_made_of_its_flags() -> None:
    assert run("door", "--coat", "3", "--dry") == (0, [("door", Paint("red", 3), True)])
    assert run("door", "--colour", "blue") == (0, [("door", Paint("blue", 2), False)])


def test_a_fields_limits_are_the_flags() -> None:
    assert run("door", "--coat", "0") == (2, [])


def test_flags_come_in_the_order_of_parameters_and_fields() -> None:
    @with_option_groups
    def command(*, paint: Paint, thing: str = "door") -> None:
        """Paint."""

    assert list(inspect.signature(command).parameters) == ["colour", "coats", "thing"]
    assert command.__doc__ == "Paint."
