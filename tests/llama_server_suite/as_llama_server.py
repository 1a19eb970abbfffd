"""The program that the suite starts in place of llama-server: it becomes llama-server, or Corral.

Both get their model from the folder of stand-ins. llama-server gets all other flags as they are; for Corral
they are translated, and a flag without a counterpart ends the program, as the suite's test can't pass then.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp

from tests.llama_server_suite.names import stand_in

STAND_INS = "CORRAL_SUITE_STAND_INS"
"""This variable names the folder of the models."""
BINARY = "CORRAL_SUITE_LLAMA_SERVER"
"""This variable names the real llama-server; where it isn't set, Corral is started."""
NO_COUNTERPART = 64
"""The exit status for what Corral has not."""

_SWITCHES: Mapping[str, tuple[str, ...]] = {
    "--offline": (),
    "--cont-batching": (),
    "--jinja": (),
    "--no-jinja": (),
    "--metrics": (),
    "--slots": (),
    "--no-slots": ("--no-slots",),
    "--context-shift": ("--context-shift",),
    "--no-ui": ("--no-web-page",),
    "--no-mmproj": (),
    "--kv-unified": ("--kv-unified",),
    "--swa-full": ("--swa-full",),
    "--embedding": (),
    "--reranking": (),
    "--verbose": ("--log-level", "debug"),
    "--no-cache-idle-slots": (),
    "--backend_sampling": (),
}
"""llama-server's switches, and the flags of Corral that mean the same; none where Corral is always so."""

_VALUES: Mapping[str, str | None] = {
    "--host": "--host",
    "--port": "--port",
    "--api-key": "--api-key",
    "--batch-size": "--n-batch",
    "--ubatch-size": "--n-ubatch",
    "--threads": "--threads",
    "--n-gpu-layers": "--gpu-layers",
    "--parallel": "--parallel",
    "--pooling": "--pooling",
    "--slot-save-path": "--slot-save-path",
    "-fa": "--flash-attn",
    "-ctk": "--type-k",
    "-ctv": "--type-v",
    "--temp": "--temperature",
    "--seed": "--seed",
    "--n-predict": "--max-tokens",
    "--chat-template-file": "--chat-template-file",
    "--lora": "--lora",
    "--cors-origins": "--cors-origin",
    "--tools": "--tool",
    "--mcp-servers-json": "--mcp-servers",
    "--mcp-servers-config": "--mcp-servers",
    "--sleep-idle-seconds": "--keep-alive",
    "--models-max": "--max-loaded",
    "--cache-ram": None,
    "--spec-draft-n-max": "--draft-max",
    "--spec-draft-n-min": None,
    "--spec-type": None,
    "--model-draft": "--draft",
}
"""llama-server's flags with a value, and Corral's names of them; None where Corral chooses by itself."""


class NoCounterpart(Exception):
    """Corral has nothing for a flag."""


def model_path(flags: Mapping[str, str], folder: Path) -> Path | None:
    """Return the file to serve; None: the flags name no model. Raises NoCounterpart where none stands in."""
    if "--model" in flags:
        return Path(flags["--model"])
    if "--hf-repo" not in flags:
        return None
    name = stand_in(flags["--hf-repo"], flags.get("--hf-file"))
    if name is None:
        raise NoCounterpart(f"there is no stand-in for {flags['--hf-repo']}")
    return folder / name


def llama_server(binary: str, arguments: Sequence[str], folder: Path) -> list[str]:
    """Return the command line of the real server, with the stand-in as its model."""
    values, rest = _split(arguments, {"--hf-repo", "--hf-file", "--model"})
    path = model_path(values, folder)
    model = [] if path is None else ["--model", str(path)]
    return [binary, *model, *(each for each in rest if each != "--offline")]


def corral(arguments: Sequence[str], folder: Path, alias_folder: Callable[[], Path]) -> list[str]:
    """Return Corral's command line. Raises NoCounterpart."""
    named = {"--hf-repo", "--hf-file", "--model", "--alias", "--tags", "--ctx-size", "--chat-template"}
    values, rest = _split(arguments, named | {"--reasoning", "--reasoning-format"})
    path = model_path(values, folder)
    command = ["serve", "--dialect", "llama-server"]
    if path is not None:
        command.append(str(_named(path, values.get("--alias"), alias_folder)))
    flags = dict(zip(rest, [*rest[1:], ""], strict=True))
    n_slots = int(flags.get("--parallel", "4"))
    if "--ctx-size" in values:
        whole = int(values["--ctx-size"])
        command += ["--ctx", str(whole if "--kv-unified" in rest else whole // n_slots)]
    if "--parallel" not in flags:
        command += ["--parallel", "4"]
    if "--chat-template-file" not in rest:  # without one of its own, a model gets llama-server's chatml
        command += ["--chat-template", values.get("--chat-template", "chatml")]
    if values.get("--reasoning", "auto") != "auto":
        command += ["--reasoning", values["--reasoning"]]
    if values.get("--reasoning-format", "deepseek") != "deepseek":
        raise NoCounterpart("the form of thoughts is a request's, reasoning_format")
    if "--metrics" not in rest:
        command.append("--no-metrics")
    return [*command, *_translated(rest)]


def _translated(rest: Sequence[str]) -> list[str]:
    flags: list[str] = []
    remaining = iter(rest)
    for flag in remaining:
        if flag in _SWITCHES:
            flags += _SWITCHES[flag]
        elif flag in _VALUES:
            value, name = next(remaining), _VALUES[flag]
            if name is not None:
                flags += [name, value]
        else:
            raise NoCounterpart(f"Corral has nothing for {flag}")
    return flags


def _named(path: Path, alias: str | None, alias_folder: Callable[[], Path]) -> Path:
    """Return a link to the file by the name that clients are to know."""
    if alias is None:
        return path
    if "," in alias:
        raise NoCounterpart("a file has one name; others are presets")
    link = alias_folder() / f"{alias}.gguf"
    link.symlink_to(path)
    return link


def _split(arguments: Sequence[str], names: set[str]) -> tuple[dict[str, str], list[str]]:
    """Return the values of some flags, and all other arguments."""
    values: dict[str, str] = {}
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument in names:
            values[argument] = next(remaining)
        else:
            rest.append(argument)
    return values, rest


def main(arguments: Sequence[str]) -> int:
    if "--threads" not in arguments:  # models this small are slower with more, and a busy machine's far more
        arguments = [*arguments, "--threads", "1"]
    folder = Path(os.environ[STAND_INS])
    binary = os.environ.get(BINARY)
    try:
        if binary:
            command = llama_server(binary, arguments, folder)
        else:
            command = [
                *(sys.executable, "-m", "server.cli"),
                *corral(arguments, folder, lambda: Path(mkdtemp(dir=os.environ["CORRAL_HOME"]))),
            ]
    except NoCounterpart as error:
        print(f"not started: {error}", file=sys.stderr)
        return NO_COUNTERPART
    os.execv(command[0], command)  # noqa: S606
    raise AssertionError


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
