"""The command `corral imatrix`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    reference: Annotated[
        str,
        typer.Argument(metavar="REF", help="The 16-bit model: a GGUF file, or a reference; F16 if not said."),
    ],
    text: Annotated[Path, typer.Option(metavar="FILE", help="The text that runs through the model (UTF-8).")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where it goes; .dat for the older form. [NAME.imatrix.gguf]"),
    ] = None,
    chunks: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Stop after so many chunks; not set: all of the text."),
    ] = None,
    ctx: Annotated[int, typer.Option(min=8, metavar="N", help="Tokens of a chunk.")] = 512,
    process_output: Annotated[
        bool, typer.Option("--process-output", help="Also of the output matrix (output.weight).")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Threads; not set: one per core.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Compute an importance matrix: which columns matter most.

    Give it to: corral quantize --imatrix FILE. The file is llama.cpp's, and llama.cpp's own serve here too.
    """
    from models.errors import ConfigError
    from models.machine.hardware import available_cores
    from quantize.evaluate.windows import TextPlan, read_text
    from quantize.imatrix.compute import compute_imatrix
    from quantize.imatrix.file import write_imatrix
    from server.cli.console import say
    from server.cli.model_files import model_file, plain_file
    from server.cli.progress import count_progress

    raw = plain_file(text)
    model = model_file(reference, "F16")
    target = out or Path(f"{model.path.stem}.imatrix.gguf")
    if target.exists() and not force:
        raise ConfigError(f"{target} exists; remove it, or overwrite it with --force")
    with count_progress("chunks") as done:
        matrix = compute_imatrix(
            model.path,
            TextPlan(read_text(raw), ctx, chunks),
            dataset=str(text),
            process_output=process_output,
            threads=threads or available_cores(),
            on_chunks=done,
        )
    write_imatrix(matrix, target)
    say(f"{target}: {len(matrix.entries)} tensors, {matrix.chunk_count} chunks of {ctx} tokens of {text}")
    say(f"use it: corral quantize {reference} --imatrix {target}")
