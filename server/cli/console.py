"""The output of commands: results go to stdout, everything said along the way and the log to stderr."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from models.secrets import RedactingFormatter, Redactor
from server.cli.json_log import JsonFormatter

GIB = 2**30
MIB = 2**20

LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
"""A line of the server's log has this form."""


def out() -> Console:
    """Return the console for results. Where nobody looks, lines are as long as they need to be."""
    return Console(soft_wrap=not sys.stdout.isatty(), highlight=False)


def err() -> Console:
    """Return the console for progress and remarks."""
    return Console(stderr=True, soft_wrap=not sys.stderr.isatty(), highlight=False)


def say(text: str) -> None:
    """Write one remark to stderr, as it is. Where the terminal has gone, nobody is there to read it."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def write_log(format_: str, level: int, datefmt: str | None = None) -> None:
    """Write everybody's log lines from `level` on to stderr, without the environment's secrets."""
    _write_log(RedactingFormatter(format_, Redactor.of(os.environ), datefmt), level)


def _write_log(formatter: logging.Formatter, level: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=level, force=True)


def log_to_stderr(level: str, form: Literal["text", "json"] = "text") -> None:
    """Write a line per event to stderr: Corral's from `level` on, everybody else's from warning on."""
    everything = logging.getLogger().isEnabledFor(logging.DEBUG)
    if form == "json":
        _write_log(JsonFormatter(Redactor.of(os.environ)), logging.WARNING)
    else:
        write_log(LOG_FORMAT, logging.WARNING, "%H:%M:%S")
    logging.getLogger("corral").setLevel(logging.DEBUG if everything else level.upper())


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_table(table: Table) -> None:
    """Print a table on stdout: as wide as a terminal, otherwise as wide as its content."""
    console = Console(highlight=False) if sys.stdout.isatty() else Console(width=10_000, highlight=False)
    console.print(table)


def plain_table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """Return a table with a header line and no frame; columns in `right` are right-aligned, never wrapped."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            column, justify="right" if column in right else "left", no_wrap=column in right, overflow="fold"
        )
    return table


def size(n_bytes: int) -> str:
    """Return a size as people read it: `4.37 GiB`, `13.6 MiB`, `812 KiB`."""
    if n_bytes >= GIB:
        return f"{n_bytes / GIB:.2f} GiB"
    if n_bytes >= MIB:
        return f"{n_bytes / MIB:.1f} MiB"
    return f"{n_bytes / 1024:.0f} KiB"


def duration(seconds: float) -> str:
    """Return a time as people read it: `0.8 s`, `42 s`, `3 min 10 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
