"""The command line's way to a file that can be served: what is missing is made in another process.

Quantizing happens in a process of its own (`corral quantize`): this one goes on to serve, and the process
that serves HTTP never loads llama.cpp.
"""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import typer

from models.errors import CorralError
from models.machine.child_process import module_command
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.job.ensure_model import ensure_model, is_ready_gguf
from server.cli.console import say
from server.supervisor.catalogue import CatalogueEntry, file_entry, store_entry
from server.supervisor.process.exit_report import ExitReport

TERMINATED = 143
"""This is the exit status of a process that was ended by SIGTERM."""


def ensure_entry(
    ref: ModelRef, store: ModelStore, default_type: str, *, may_be_head: bool = False
) -> CatalogueEntry:
    """Return the file that serves `ref`; without a type in it, the default type, or another one that is here.

    `may_be_head`: see `file_entry`. Raises what downloading raises, and typer.Exit when quantizing has failed
    and said why.
    """
    ensured = ensure_model(ref, store, default_type, make)
    if ensured.model is None or ensured.file is None:
        return file_entry(ensured.path, may_be_head=may_be_head)
    return store_entry(ensured.model, ensured.file)


def make(ref: ModelRef, types: Sequence[str], store: ModelStore) -> None:
    """Pull a ready GGUF, quantize anything else, in a process of its own. Progress goes to stderr."""
    say(f"{ref} is not here yet: making {', '.join(types)}")
    if is_ready_gguf(ref, store):
        _run_corral("pull", str(ref))
        return
    flags = [argument for type_ in types for argument in ("--type", type_)]
    _run_corral("quantize", str(ref.with_type(None)), *flags)


def _run_corral(command: str, *arguments: str) -> None:
    """Run a command of ours in its own process; it writes to our stderr and ends when we do."""
    with _exit_at_sigterm():
        process = subprocess.Popen(
            module_command("server.cli", command, *arguments), stdout=subprocess.DEVNULL
        )
        try:
            code = process.wait()
        except BaseException:  # Ctrl-C ends the child, too
            process.terminate()
            process.wait()
            raise
    if code < 0:
        report = ExitReport(code)
        # The other hints are about models that are served.
        advice = report.hint if report.signal_name == "SIGILL" else "run it alone"
        raise CorralError(f"corral {command} {arguments[0]} was ended by {report.signal_name}; {advice}")
    if code != 0:
        raise typer.Exit(code)


@contextmanager
def _exit_at_sigterm() -> Iterator[None]:
    """Let SIGTERM raise typer.Exit meanwhile.

    Only the main thread may say what a signal does. In another one the program around it decides, as where a
    server of other programs runs us in a thread of its own.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        raise typer.Exit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
