"""The results of `corral bench` as a table, as JSON and as a drawing."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.bar import Bar
from rich.console import Console, Group
from rich.table import Table

from server.cli.console import plain_table, print_table
from server.loadtest.figures import Figures, Quantiles
from server.loadtest.session import Level, Plan, Result
from server.loadtest.target import Target

HEADINGS = (
    "load",
    "requests",
    "errors",
    "first token p50",
    "p99",
    "inter-token p50",
    "p99",
    "end to end p50",
    "p99",
    "tok/s out",
    "tok/s in",
)
TIMES: dict[str, Callable[[Figures], Quantiles]] = {
    "time to first token, p50 to p99": lambda figures: figures.first_token_s,
    "time between tokens, p50 to p99": lambda figures: figures.gap_s,
    "end to end, p50 to p99": lambda figures: figures.end_to_end_s,
}
BAR_WIDTH = 40
DRAWING_WIDTH = 96

# As Rich's own template, without its fonts from elsewhere.
SVG = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: monospace; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-family: sans-serif; font-size: 18px; font-weight: bold; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def level_name(level: Level) -> str:
    """Return `16 at once`, or `2.5 per second`."""
    return f"{level.concurrency} at once" if level.rate is None else f"{level.rate:g} per second"


def print_results(results: Sequence[Result]) -> None:
    """Print the table on stdout."""
    print_table(table_of(results))


def table_of(results: Sequence[Result]) -> Table:
    """Return the table, a row per level."""
    table = plain_table(*HEADINGS, right=HEADINGS[1:])
    for result in results:
        figures = result.figures
        table.add_row(
            level_name(result.level) + (" (interrupted)" if result.interrupted else ""),
            str(figures.n_requests),
            str(figures.n_errors),
            *(milliseconds(value) for value in _times(figures)),
            f"{figures.tokens_out_per_s:.1f}",
            "–" if figures.tokens_in_per_s is None else f"{figures.tokens_in_per_s:.1f}",
        )
    return table


def milliseconds(seconds: float | None) -> str:
    """Return `0.42 ms`, `12.3 ms`, `1.25 s`."""
    if seconds is None:
        return "–"
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.{2 if seconds < 0.001 else 1}f} ms"


def document(target: Target, plan: Plan, seed: int, results: Sequence[Result]) -> dict[str, Any]:
    """Return everything, for a program. Times are in seconds."""
    return {
        "url": target.url,
        "model": plan.model,
        "api": "chat" if plan.chat else "completions",
        "prompt_tokens": plan.prompt_tokens,
        "output_tokens": plan.output_tokens,
        "shared_prefix": plan.shared_prefix,
        "seed": seed,
        "levels": [
            {
                "concurrency": result.level.concurrency,
                "rate": result.level.rate,
                "interrupted": result.interrupted,
                "first_error": result.first_error,
                **result.figures.to_json(),
            }
            for result in results
        ],
    }


def draw(path: Path, title: str, results: Sequence[Result]) -> None:
    """Write the results as an SVG file of bars: throughput, and times from median to 99th percentile."""
    console = Console(record=True, width=DRAWING_WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(bars(results))
    path.write_text(console.export_svg(title=title, code_format=SVG), encoding="utf-8")


def bars(results: Sequence[Result]) -> Group:
    """Return the bars: a block per quantity, with a bar per level."""
    rates = [(0.0, one.figures.tokens_out_per_s, f"{one.figures.tokens_out_per_s:.1f}") for one in results]
    blocks = [_block("tokens per second, out", results, rates)]
    blocks += [
        _block(title, results, [_span(pick(one.figures)) for one in results]) for title, pick in TIMES.items()
    ]
    return Group(*blocks)


def _span(quantiles: Quantiles) -> tuple[float, float, str]:
    text = f"{milliseconds(quantiles.p50)} – {milliseconds(quantiles.p99)}"
    return quantiles.p50 or 0.0, quantiles.p99 or 0.0, text


def _block(title: str, results: Sequence[Result], spans: Sequence[tuple[float, float, str]]) -> Table:
    """Return bars from begin to end on one scale that starts at 0; a bar is never too short to be seen."""
    table = Table(box=None, title=title, title_justify="left", title_style="bold", show_header=False)
    size = max((end for _, end, _ in spans), default=0.0) or 1.0
    for result, (begin, end, text) in zip(results, spans, strict=True):
        start = min(begin, end - size / BAR_WIDTH)
        table.add_row(level_name(result.level), Bar(size, start, end, width=BAR_WIDTH, color="cyan"), text)
    return table


def _times(figures: Figures) -> list[float | None]:
    quantities = [pick(figures) for pick in TIMES.values()]
    return [value for one in quantities for value in (one.p50, one.p99)]
