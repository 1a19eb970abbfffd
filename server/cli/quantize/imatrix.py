"""The command `corral imatrix`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def command(  # noqa: PLR0913, PLR0917 - its flags
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compute an importance matrix: which columns matter most.

    Give it to: corral quantize --imatrix FILE. The file is llama.cpp's, and llama.cpp's own serve here too.
    A mixture's experts to which few tokens of the text come are named.
    """
    from models.errors import ConfigError
    from models.machine.hardware import available_cores
    from quantize.evaluate.windows import TextPlan, read_text
    from quantize.imatrix.compute import compute_imatrix
    from quantize.imatrix.file import write_imatrix
    from quantize.imatrix.rare_experts import rare_experts, warning_of
    from server.cli.console import print_json, say
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
    rare = rare_experts(matrix)
    if rare:
        say(f"warning: {warning_of(rare)}")
    if as_json:
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
