"""`corral quantize`."""

from __future__ import annotations

import time
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
    from models.paths import Paths
    from models.quantization_types import DEFAULT_TYPES
    from models.reference import ModelRef, canonical_type
    from models.store.store import ModelStore
    from quantize.evaluate.files import Subject
    from quantize.job.publish import write_card
    from quantize.job.service import QuantizeOptions, quantize_reference
    from quantize.merge.locate import parse_adapter
    from server.cli.console import print_json, say
    from server.cli.evaluate.report import Wish, evaluated, print_report, with_figures
    from server.cli.progress import byte_progress
    from server.cli.quantize.report import document_of, print_document
    from server.cli.quantize.type_choice import SizeWish, choice_of

    ref = ModelRef.parse(reference)
    named = [*([ref.type] if ref.type else []), *map(canonical_type, types or ())]
    store = ModelStore(Paths.from_environment())
    sized = SizeWish(
        imatrix,
        recipe,
        target_size,
        target_bpw,
        fit,
        ctx=ctx,
        text=text,
        probes=probes,
        out=out,
        threads=threads,
    )
    choice = choice_of(ref, sized, store)
    recipes = [made.name for made in choice.recipes] if choice is not None else []
    wanted = tuple(dict.fromkeys([*named, *recipes])) or DEFAULT_TYPES
    options = QuantizeOptions(
        threads=threads,
        memory_bytes=parse_size(memory) if memory is not None else None,
        split_bytes=parse_size(split_size) if split_size is not None else None,
        stream=stream,
        choice=choice,
        on_resume=lambda done, n: say(f"resuming: {done} of {n} tensors were done by an earlier run"),
    )
    began = time.monotonic()
    with byte_progress("download") as downloaded, byte_progress("quantize") as quantized:
        outcome = quantize_reference(
            ref.with_type(None),
            wanted,
            store=store,
            out_dir=out,
            dry_run=dry_run,
            force=force,
            adapters=[parse_adapter(text) for text in lora or ()],
            options=options,
            on_download=lambda p: downloaded(p.bytes_done, p.bytes_total),
            on_progress=lambda p: quantized(p.source_bytes_read, p.source_bytes),
        )
    document = document_of(outcome, dry_run=dry_run, seconds=time.monotonic() - began)
    measured = None
    if report and not dry_run:
        subjects = [Subject(file.path, f"{ref.name}:{file.type}") for file in outcome.files]
        measured = evaluated(str(ref.with_type(None)), subjects, None, Wish(text, threads=threads))
        document["report"] = measured.document()
        if outcome.manifest is not None:
            write_card(with_figures(outcome.manifest, measured), outcome.files[0].path)
    if as_json:
        print_json(document)
        return
    print_document(document)
    if not dry_run and out is None:
        say(f"serve it: corral serve {outcome.ref}")
    if measured is not None:
        print_report(measured)
