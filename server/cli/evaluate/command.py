"""The command `corral evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from server.serve_options import KVType


def command(  # noqa: PLR0913, PLR0917 - its flags
    references: Annotated[
        list[str],
        typer.Argument(metavar="REF…", help="GGUF files or references of one model, as demo:Q4_K_M."),
    ],
    text: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A text (UTF-8) that none of it was tuned to; demo has its own."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="REF", help="The 16-bit file they are compared with. [the first REF's F16]"),
    ] = None,
    ctx: Annotated[int, typer.Option(min=8, metavar="N", help="Tokens of a window.")] = 512,
    chunks: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Windows; not set: all of the text.")
    ] = None,
    memory_ctx: Annotated[
        int, typer.Option(min=1, metavar="N", help="Context, in tokens, whose memory is told.")
    ] = 4096,
    type_k: Annotated[
        KVType, typer.Option(help="Type of the K cache; the baseline's is always f16.")
    ] = "f16",
    type_v: Annotated[
        KVType, typer.Option(help="Type of the V cache; the baseline's is always f16.")
    ] = "f16",
    speed: Annotated[bool, typer.Option("--speed/--no-speed", help="Measure speed too.")] = True,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the JSON there, and the picture beside it (.svg)."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Threads; not set: one per core.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure what a model's files lost, their size and their speed.

    The figures are those of llama.cpp's llama-perplexity. JSON and a picture go beside the first
    file. With --type-k and --type-v it is the loss of the file and of such a cache together;
    give the baseline itself, too, for that of the cache alone.
    """
    from quantize.evaluate.windows import KVTypes
    from server.cli.console import print_json
    from server.cli.evaluate.report import EvaluateOptions, evaluate, print_report, subject

    options = EvaluateOptions(text, ctx, chunks, memory_ctx, speed, threads, out, KVTypes(type_k, type_v))
    subjects = [subject(reference, "Q4_K_M") for reference in references]
    report = evaluate(references[0], subjects, baseline, options)
    if as_json:
        print_json(report.document())
    else:
        print_report(report)
