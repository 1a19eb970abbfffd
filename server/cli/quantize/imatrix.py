"""The command `corral imatrix`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from server.cli.option_groups import with_option_groups
from server.cli.quantize.text_flags import CTX_HELP, SixteenBits, TextRunFlags


@with_option_groups
def command(
    reference: SixteenBits,
    text: Annotated[Path, typer.Option(metavar="FILE", help="The text that runs through the model (UTF-8).")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where it goes; .dat for the older form. [NAME.imatrix.gguf]"),
    ] = None,
    ctx: Annotated[int, typer.Option(min=8, metavar="N", help=CTX_HELP)] = 512,
    process_output: Annotated[
        bool, typer.Option("--process-output", help="Also of the output matrix (output.weight).")
    ] = False,
    *,
    flags: TextRunFlags,
) -> None:
    """Compute an importance matrix: which columns matter most.

    Give it to: corral quantize --imatrix FILE. The file is llama.cpp's, and llama.cpp's own serve here too.
    A mixture's experts to which few tokens of the text come are named.
    """
    from quantize.evaluate.windows import TextPlan, read_text
    from quantize.imatrix.compute import compute_imatrix
    from quantize.imatrix.file import write_imatrix
    from quantize.imatrix.rare_experts import rare_experts, warning_of
    from server.cli.console import print_json, say
    from server.cli.model_files import plain_file
    from server.cli.progress import count_progress

    raw = plain_file(text)
    model, target = flags.model_and_target(reference, out, "imatrix")
    with count_progress("chunks") as done:
        matrix = compute_imatrix(
            model,
            TextPlan(read_text(raw), ctx, flags.chunks),
            dataset=str(text),
            process_output=process_output,
            threads=flags.n_threads,
            on_chunks=done,
        )
    write_imatrix(matrix, target)
    say(f"{target}: {len(matrix.entries)} tensors, {matrix.chunk_count} chunks of {ctx} tokens of {text}")
    rare = rare_experts(matrix)
    if rare:
        say(f"warning: {warning_of(rare)}")
    if flags.as_json:
        print_json(
            {
                "file": str(target),
                "text": str(text),
                "tensors": len(matrix.entries),
                "chunks": matrix.chunk_count,
                "chunk_size": matrix.chunk_size,
                "rare_experts": [asdict(expert) for expert in rare],
            }
        )
        return
    say(f"use it: corral quantize {reference} --imatrix {target}")
