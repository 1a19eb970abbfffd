"""The command `corral bench`."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.cli.bench.options import LoadOptions, ServerOptions
from server.cli.option_groups import with_option_groups

if TYPE_CHECKING:
    from server.loadtest.session import Level, Plan, Result, Session

INTERRUPTED = 130
"""Ctrl-C ends the command with this exit code."""


@with_option_groups
def command(
    reference: Annotated[
        str | None, typer.Argument(metavar="REF", help="A model to start a server for, on a free port.")
    ] = None,
    *,
    server: ServerOptions,
    load: LoadOptions,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the results: an SVG file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure how fast a model's server answers.

    Time to first token, time between tokens, time to the end, and tokens per second, with 1, 4, 16 and more
    requests at once. With --url it loads any server that has OpenAI's API; with REF it starts one of its own.
    Prompts are random words that no server has seen before, as long as asked for by the server's count.

    "Inter-token" is the time between two pieces of text; a server may send several tokens in one piece. Rates
    and times leave failed requests out, which "errors" counts. Ctrl-C shows what was measured so far.
    """
    from models.secrets import clean_secret
    from server.cli.clients.options import trusted_file
    from server.loadtest.session import Session, first_model
    from server.loadtest.target import Target

    _check(reference, server, plot)
    ca = trusted_file(server.tls_ca, server.url)
    plan, levels = load.plan(server.model or ""), load.levels()
    seed = secrets.randbits(31) if load.seed is None else load.seed
    try:
        with _address(reference, server.url, max(load.streams()), plan) as address:
            key = clean_secret(server.api_key or "", "--api-key")
            target = Target.find(address, key, ca)
            session = Session(target, replace(plan, model=plan.model or first_model(target)), seed)
            results, interrupted = measure(session, levels, load.warmup)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    _show(session, seed, results, plot, as_json=as_json)
    _end(results, interrupted=interrupted)


def measure(session: Session, levels: Sequence[Level], n_warmup: int) -> tuple[list[Result], bool]:
    """Run all levels with progress on stderr; return the results, and True if Ctrl-C ended them early.

    Raises KeyboardInterrupt before the first level, CorralError if the server refuses a request.
    """
    from server.cli.bench.progress import level_progress
    from server.cli.console import say

    say(f"{session.target.url}, model {session.plan.model}: warming up")
    session.probe(n_warmup)
    if not session.ignores_eos:
        say("the server doesn't take ignore_eos: answers may end before their length is reached")
    results: list[Result] = []
    for level in levels:
        with level_progress(level) as on_end:
            result = session.run(level, on_end)
        if result.figures.n_requests:
            results.append(result)
        if result.interrupted:
            return results, True
    return results, False


def _check(reference: str | None, server: ServerOptions, plot: Path | None) -> None:
    """Raise ConfigError unless there is one server to load, and a place for the plot."""
    from models.errors import ConfigError

    if (reference is None) == (server.url is None):
        raise ConfigError("name either a model (corral bench demo) or a server (corral bench --url URL)")
    if plot is not None and plot.suffix.lower() != ".svg":
        raise ConfigError(f"{plot} can't be drawn: plots are SVG; name a file that ends in .svg")
    if plot is not None and not plot.absolute().parent.is_dir():
        raise ConfigError(f"there is no folder {plot.absolute().parent} for --plot; make it first")


def _address(
    reference: str | None, url: str | None, n_streams: int, plan: Plan
) -> AbstractContextManager[str]:
    """Return the URL to load; a server of our own runs for as long as the block does."""
    if url is not None:
        return nullcontext(url)
    from server.cli.bench.own_server import serving

    assert reference is not None
    return serving(reference, n_streams, plan.prompt_tokens + plan.output_tokens)


def _show(
    session: Session, seed: int, results: Sequence[Result], plot: Path | None, *, as_json: bool
) -> None:
    from server.cli.bench.report import document, draw, print_results
    from server.cli.console import print_json, say

    if as_json:
        print_json(document(session.target, session.plan, seed, results))
    elif results:
        print_results(results)
    if plot is not None and results:
        draw(plot, f"{session.plan.model} at {session.target.url}", results)
        say(f"drawn: {plot}")


def _end(results: Sequence[Result], *, interrupted: bool) -> None:
    """End with 130 if interrupted. Raises CorralError if requests have failed."""
    from models.errors import CorralError

    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if errors := [one.first_error for one in results if one.first_error is not None]:
        raise CorralError(f"some requests failed and are left out of the figures; the first: {errors[0]}")
