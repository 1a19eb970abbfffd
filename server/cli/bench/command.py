"""`corral bench`."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from server.loadtest.session import Level, Plan, Result, Session

INTERRUPTED = 130
MOST = 1e6
TOKENS_MAX = 1_000_000


def command(  # noqa: PLR0913, PLR0917 - one per flag
    reference: Annotated[
        str | None, typer.Argument(metavar="REF", help="A model to start a server for, on a free port.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="A server that is running: http://HOST:PORT.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Model to ask for. [the first that the server lists]")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The key of the server at --url.")
    ] = None,
    concurrency: Annotated[
        str, typer.Option(metavar="N,…", help="Requests under way at the same time, one level after another.")
    ] = "1,4,16",
    rate: Annotated[
        str | None,
        typer.Option(metavar="R,…", help="Requests per second at random times, instead of --concurrency."),
    ] = None,
    requests: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Requests per level. [four per stream, at least 8; 32 with --rate]"
        ),
    ] = None,
    prompt_tokens: Annotated[
        int, typer.Option(min=1, max=TOKENS_MAX, metavar="N", help="Length of a prompt, about.")
    ] = 64,
    output_tokens: Annotated[
        int, typer.Option(min=1, max=TOKENS_MAX, metavar="N", help="Length of an answer.")
    ] = 96,
    shared_prefix: Annotated[
        int, typer.Option(min=0, metavar="N", help="Tokens of the prompt that all requests of a level share.")
    ] = 0,
    chat: Annotated[bool, typer.Option("--chat/--completions", help="Which of the two APIs to use.")] = True,
    warmup: Annotated[
        int, typer.Option(min=0, metavar="N", help="Requests sent before any is measured.")
    ] = 2,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="S", help="Most seconds for one request.")
    ] = 600.0,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Of prompts and arrivals. [another one each time]")
    ] = None,
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
    from dataclasses import replace

    from models.errors import ConfigError, CorralError
    from server.cli.bench.report import document, draw, print_results
    from server.cli.console import print_json, say
    from server.loadtest.session import Plan, Session, first_model, levels_of
    from server.loadtest.target import Target

    if (reference is None) == (url is None):
        raise ConfigError("name either a model (corral bench demo) or a server (corral bench --url URL)")
    if plot is not None and plot.suffix.lower() != ".svg":
        raise ConfigError(f"{plot} can't be drawn: plots are SVG; name a file that ends in .svg")
    if plot is not None and not plot.absolute().parent.is_dir():
        raise ConfigError(f"there is no folder {plot.absolute().parent} for --plot; make it first")
    if shared_prefix >= prompt_tokens:
        raise ConfigError(
            f"--shared-prefix {shared_prefix} leaves nothing of {prompt_tokens} prompt tokens that differs;"
            " raise --prompt-tokens"
        )
    rates = numbers("--rate", rate) if rate is not None else []
    streams = [int(n) for n in numbers("--concurrency", concurrency)]
    levels = levels_of(streams, rates, requests)
    plan = Plan(model or "", chat, prompt_tokens, output_tokens, shared_prefix, timeout)
    try:
        with _server(reference, url, max(streams), plan) as address:
            target = Target.find(address, api_key)
            if not plan.model:
                plan = replace(plan, model=first_model(target))
            chosen_seed = secrets.randbits(31) if seed is None else seed
            results, interrupted = measure(Session(target, plan, chosen_seed), levels, warmup)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print_json(document(target, plan, chosen_seed, results))
    elif results:
        print_results(results)
    if plot is not None and results:
        draw(plot, f"{plan.model} at {target.url}", results)
        say(f"drawn: {plot}")
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if errors := [one.first_error for one in results if one.first_error is not None]:
        raise CorralError(f"some requests failed and are left out of the figures; the first: {errors[0]}")


def measure(session: Session, levels: Sequence[Level], n_warmup: int) -> tuple[list[Result], bool]:
    """Run all levels with progress on stderr: the results, and whether Ctrl-C ended them early.

    Raises KeyboardInterrupt before the first level, CorralError if the server refuses what it is sent.
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


def numbers(flag: str, text: str) -> list[float]:
    """The positive numbers of a comma-separated list; --concurrency takes whole ones. Raises ConfigError."""
    from models.errors import ConfigError

    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    whole = flag != "--concurrency" or all(n == int(n) for n in found if n < sys.maxsize)
    if not found or not whole or not all(0 < n < MOST for n in found):
        raise ConfigError(f"{flag} {text} is no list of positive numbers; write for example {flag} 1,4,16")
    return found


def _server(
    reference: str | None, url: str | None, n_streams: int, plan: Plan
) -> AbstractContextManager[str]:
    """The URL to load, of a server that runs for as long as the block does if it is ours."""
    if url is not None:
        return nullcontext(url)
    from server.cli.bench.own_server import serving

    assert reference is not None
    return serving(reference, n_streams, plan.prompt_tokens + plan.output_tokens)
