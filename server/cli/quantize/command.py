"""The command `corral quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(  # noqa: PLR0913, PLR0917
    reference: Annotated[
        str,
        typer.Argument(metavar="REF", help="org/name, a folder with weights, a merge recipe (.yaml), demo."),
    ],
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="T", help="May be given several times. [Q8_0 Q5_K_M Q4_K_M]"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write NAME.TYPE.gguf there instead of into the store.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only show what would be made: bytes, bits per weight, does it fit."),
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Threads; not set: one per core.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Use at most so much memory, such as 2GiB; see --dry-run."),
    ] = None,
    split_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Write files larger than that in parts of at most SIZE."),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Quantize the Hub's weights as they arrive, without keeping them."),
    ] = False,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            "--lora", metavar="DIR[=W]", help="Add a PEFT adapter, times W [1]; may be given several times."
        ),
    ] = None,
    imatrix: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Encode by this importance matrix (corral imatrix, or llama.cpp's)."
        ),
    ] = None,
    target_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="One file of at most that size, each tensor's type chosen for it."),
    ] = None,
    target_bpw: Annotated[
        float | None, typer.Option(min=1.0, max=16.0, metavar="BITS", help="The same by bits per weight.")
    ] = None,
    fit: Annotated[
        bool, typer.Option("--fit", help="The same by this machine's free memory, with room for --ctx.")
    ] = False,
    ctx: Annotated[int, typer.Option(min=1, metavar="N", help="Tokens of context, for --fit.")] = 4096,
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The types that an earlier choice has written.")
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The text that a choice is made with; demo has its own."),
    ] = None,
    probes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Trials of a choice at most. [256]")
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Measure afterwards what was lost, as corral evaluate does.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Make again what is here already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make GGUF files of a model's weights, all types in one pass.

    The weights are downloaded first if need be. Each tensor is read once and written to every type, without a
    16-bit GGUF in between. Interrupted at any moment, it leaves everything as it was, and the same command
    goes on where it ended. With --out there is a model card beside the files.
    """
    from models.parse_size import parse_size
    from models.reference import ModelRef
    from quantize.job.request import QuantizeOptions
    from quantize.merge.locate import parse_adapter
    from quantize.run.options import RunOptions
    from server.cli.quantize.job import QuantizeJob
    from server.cli.quantize.type_choice import TypeOptions

    QuantizeJob(
        ModelRef.parse(reference),
        tuple(types or ()),
        TypeOptions(
            imatrix, recipe, target_size, target_bpw, fit, ctx, text, probes, out=out, threads=threads
        ),
        QuantizeOptions(
            adapters=tuple(parse_adapter(text) for text in lora or ()),
            out_dir=out,
            dry_run=dry_run,
            force=force,
            run=RunOptions(
                threads=threads,
                memory_bytes=parse_size(memory) if memory is not None else None,
                split_bytes=parse_size(split_size) if split_size is not None else None,
                stream=stream,
            ),
        ),
    ).run(report=report, as_json=as_json)
