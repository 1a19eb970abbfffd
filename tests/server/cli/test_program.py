from __future__ import annotations

import inspect
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from models.errors import CorralError, InvalidReference
from models.version import VERSION
from server.cli import program
from server.cli.program import (
    COMMANDS,
    DONE,
    FAILED,
    INTERRUPTED,
    WRONG_USAGE,
    Command,
    command_in,
    load,
    main,
    make_app,
)
from tests.server.cli.conftest import Corral

CALL = r"(?<=`)corral [^`{\n]+(?=`)|^(?:\.venv/bin/)?corral [a-z]+[^#\n{}|]*(?=$|#)"
"""A call of the program in backticks, or on a line of its own."""


@pytest.fixture(autouse=True)
def same_logging() -> Iterator[None]:
    """`main` configures logging; the next test shall not notice."""
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == DONE
    assert capsys.readouterr().out == f"corral {VERSION}\n"


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == DONE
    shown = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"{name} " in shown
        assert command.summary in " ".join(shown.split())


def test_texts_name_no_command_and_no_flag_that_does_not_exist() -> None:
    """In messages, help texts and pages; a reader types what stands there."""
    root = Path(__file__).parents[3]
    pages = [root / "README.md", *(root / "docs").glob("*.md"), *(root / "docker").glob("*.md")]
    sources = [path for part in ("models", "quantize", "server") for path in (root / part).rglob("*.py")]
    application: Any = typer.main.get_command(make_app(*COMMANDS))
    commands = dict(application.commands)
    for name, whole in COMMANDS.items():
        commands |= {f"{name} {part}": commands[name].commands[part] for part in whole.parts}
    flags = {
        name: {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
        | {"--help"}
        for name, command in commands.items()
    }
    named = 0
    for path in (*pages, *sources):
        for line in re.findall(CALL, path.read_text(encoding="utf-8"), re.MULTILINE):
            name, *arguments = line.split()[1:]
            if name.startswith("-"):
                continue
            if arguments and name in COMMANDS and COMMANDS[name].parts:
                name = f"{name} {arguments.pop(0).rstrip(',')}"
            assert name in flags, f"{path}: {line}"
            unknown = {word.partition("=")[0] for word in arguments if word.startswith("--")} - flags[name]
            assert not unknown, f"{path}: {line}"
            named += 1
    assert named > 100


@pytest.mark.parametrize("name", COMMANDS)
def test_summaries_are_the_docstrings_first_lines(name: str) -> None:
    if COMMANDS[name].parts:
        return  # it has no function, and its parts take theirs from their docstrings
    assert (inspect.getdoc(load(name)) or "").partition("\n")[0] == COMMANDS[name].summary


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == DONE
    assert COMMANDS[name].summary in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["list", "--nonsense"], ["pull"], ["serve", "--port", "x"], ["show", "a b:c"]]
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == WRONG_USAGE
    assert capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CorralError("a fact;\n a fix"), FAILED),
        (InvalidReference("no such"), WRONG_USAGE),
        (KeyboardInterrupt(), INTERRUPTED),
        (BrokenPipeError(), DONE),
        (OSError(28, "No space left on device", "/x"), FAILED),
        (RuntimeError("a defect"), FAILED),
    ],
)
def test_errors_become_one_line_and_a_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise error

    monkeypatch.setitem(COMMANDS, "list", Command("unused", "unused"))
    monkeypatch.setattr(program, "load", lambda _name: command)
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # BrokenPipeError replaces it
    assert main(["list"]) == code
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert len(shown.splitlines()) == (0 if isinstance(error, KeyboardInterrupt | BrokenPipeError) else 1)


def test_debug_shows_the_traceback_wherever_it_stands(corral: Corral) -> None:
    plain = corral("show", "org/name")
    assert plain.returncode == FAILED
    assert plain.stderr.startswith("corral: org/name is not here")
    assert len(plain.stderr.splitlines()) == 1
    for arguments in (("--debug", "show", "org/name"), ("show", "org/name", "--debug")):
        debugged = corral(*arguments)
        assert debugged.returncode == FAILED
        assert "Traceback" in debugged.stderr


def test_only_the_command_asked_for_is_imported() -> None:
    assert command_in(["--debug", "list", "--json"]) == "list"
    assert command_in(["--version"]) is None


def test_help_needs_none_of_the_heavy_packages(corral: Corral) -> None:
    code = (
        "import sys; from server.cli.program import main; main(['--help']);"
        "heavy = ('pydantic', 'fastapi', 'numpy', 'llama_cpp', 'rich', 'uvicorn', 'huggingface_hub');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
