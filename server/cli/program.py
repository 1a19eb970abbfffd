"""The program `corral`: it runs one command, and turns its error into one line and an exit code.

0 done, 1 failed, 2 wrong usage, 130 interrupted. Only the module of the command in the arguments is imported,
so that `corral --help` is quick.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from models.errors import ConfigError, CorralError, InvalidReference
from models.secrets import RedactingFormatter, Redactor
from models.version import VERSION

_LOG_FORMAT = "%(levelname)s %(name)s: %(message)s"
_OFF = ("", "0", "false", "no", "off")
"""CORRAL_DEBUG with one of these values is off."""

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True, slots=True)
class Command:
    """A command: `module` has the function `command`; `summary` is the first line of its docstring.

    The `parts` are commands of their own below it, in the modules of that package; then it has no function.
    """

    module: str
    summary: str
    parts: tuple[str, ...] = ()
    passes_on: bool = False
    """Options that the command doesn't know are arguments: another program's."""


COMMANDS: dict[str, Command] = {
    "pull": Command("server.cli.models.pull", "Download a model's weights, or a ready GGUF, from the Hub."),
    "quantize": Command(
        "server.cli.quantize.command", "Make GGUF files of a model's weights, all types in one pass."
    ),
    "merge": Command("server.cli.quantize.merge", "Merge models by a recipe, into a new checkpoint."),
    "imatrix": Command(
        "server.cli.quantize.imatrix",
        "Compute an importance matrix: which columns matter most.",
    ),
    "moments": Command(
        "server.cli.quantize.moments",
        "Sum up the second moments of a model's activations over a text.",
    ),
    "evaluate": Command(
        "server.cli.evaluate.command",
        "Measure what a model's files lost, their size and their speed.",
    ),
    "serve": Command("server.cli.serve.command", "Serve models behind an OpenAI-compatible HTTP API."),
    "run": Command("server.cli.run.command", "Talk to a model, ask it one thing, or serve it."),
    "chat": Command("server.cli.chat.command", "Talk to a model in the terminal."),
    "search": Command("server.cli.models.search", "Search the Hub for models by their names."),
    "import": Command(
        "server.cli.models.import_models",
        "Take over models of Ollama or LM Studio, without a copy.",
    ),
    "list": Command("server.cli.models.list_models", "List the models that are here."),
    "show": Command("server.cli.models.show", "Show everything about one model, or a preset."),
    "remove": Command("server.cli.models.remove", "Remove a model, or one type of it."),
    "ps": Command("server.cli.lives.ps", "Show the models of a running server: state, memory, requests."),
    "load": Command("server.cli.lives.load", "Load a model in a running server."),
    "unload": Command("server.cli.lives.unload", "Unload a model of a running server."),
    "update": Command(
        "server.cli.lives.update", "Fetch what has changed of a model, and make its types again."
    ),
    "keys": Command(
        "server.cli.keys",
        "Add, list, rotate and remove named API keys of the server.",
        parts=("add", "list", "rotate", "remove"),
    ),
    "usage": Command("server.cli.usage", "Show who used which model, and how many tokens it took."),
    "launch": Command(
        "server.cli.clients.launch", "Start a client that is set up for a running server.", passes_on=True
    ),
    "connect": Command(
        "server.cli.clients.connect", "Print what to set so that a client uses a running server."
    ),
    "bench": Command("server.cli.bench.command", "Measure how fast a model's server answers."),
    "tune": Command(
        "server.cli.tune.command", "Measure what makes serving fastest on this machine, and keep it."
    ),
    "cluster": Command(
        "server.cli.cluster",
        "Use several machines: for one large model, or as one server.",
        parts=("up", "join", "deploy", "status", "down", "leave", "share", "config"),
    ),
    "doctor": Command("server.cli.doctor", "Check this machine, or a server for a client; say each fix."),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name); return the exit code."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    own = args[: args.index("--")] if "--" in args else args  # after it, another program's may stand
    debug = os.environ.get("CORRAL_DEBUG", "").strip().lower() not in _OFF or "--debug" in own
    args = [arg for arg in own if arg != "--debug"] + args[len(own) :]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(_LOG_FORMAT, Redactor.of(os.environ)))
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if debug else logging.WARNING)
    try:
        make_app(command_in(args))(args, prog_name="corral")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `corral list | head`
        with contextlib.suppress(OSError), open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a device, no path of ours
            os.dup2(nowhere.fileno(), sys.stdout.fileno())  # for the flush at exit
        return DONE
    except CorralError as error:
        return _report(error, error.message, debug=debug)
    except OSError as error:
        return _report(error, f"{error.strerror or error}: {error.filename or ''}".rstrip(": "), debug=debug)
    except Exception as error:  # noqa: BLE001 - the last resort: one line for people, the rest with --debug
        message = (
            f"an error in Corral itself: {type(error).__name__}: {error}; run with --debug and report it"
        )
        return _report(error, message, debug=debug)
    return DONE


def command_in(args: Sequence[str]) -> str | None:
    """Return the command among the arguments, None without."""
    return next((arg for arg in args if arg in COMMANDS), None)


def make_app(*loaded: str | None) -> typer.Typer:
    """Return the application; commands not in `loaded` have their summary and nothing else."""
    app = typer.Typer(
        name="corral",
        help="Quantize a model's weights to GGUF and serve them through llama.cpp.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_global_options)
    for name, command in COMMANDS.items():
        if command.parts and name in loaded:
            app.add_typer(_group(command), name=name, help=command.summary, no_args_is_help=True)
            continue
        function = load(name) if name in loaded else _placeholder
        settings = {"ignore_unknown_options": True} if command.passes_on else None
        app.command(name, help=None if name in loaded else command.summary, context_settings=settings)(
            function
        )
    return app


def load(name: str) -> Callable[..., Any]:
    """Import and return a command's function."""
    function: Callable[..., Any] = importlib.import_module(COMMANDS[name].module).command
    return function


def _group(command: Command) -> typer.Typer:
    """Return the commands below a command."""
    group = typer.Typer(rich_markup_mode=None)
    for part in command.parts:
        group.command(part)(importlib.import_module(f"{command.module}.{part}").command)
    return group


def _placeholder() -> None:
    """Stand for a command that this command line doesn't call."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"corral {VERSION}")
        raise typer.Exit


def _global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Log everything, and show the traceback of an error.")
    ] = False,
) -> None:
    pass


def _report(error: Exception, message: str, *, debug: bool) -> int:
    if debug:
        logging.getLogger("corral").error("traceback", exc_info=error)
    one_line = " ".join(Redactor.of(os.environ)(message).split())
    typer.echo(f"corral: {one_line}", err=True)
    return WRONG_USAGE if isinstance(error, InvalidReference | ConfigError) else FAILED
