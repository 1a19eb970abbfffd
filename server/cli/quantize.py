"""`corral quantize`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer


def command(
    reference: Annotated[str, typer.Argument(metavar="REF", help="org/name, a folder with weights, demo.")],
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
    force: Annotated[bool, typer.Option("--force", help="Make again what is here already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make GGUF files of a model's weights, all types in one pass.

    The weights are downloaded first if need be. Each tensor is read once and written to every type, without a
    16-bit GGUF in between. Interrupted at any moment, it leaves everything as it was.
    """
    from models.paths import Paths
    from models.reference import DEFAULT_TYPES, ModelRef, canonical_type
    from models.store import ModelStore
    from quantize.service import quantize_reference
    from server.cli.console import print_json, say
    from server.cli.progress import byte_progress
    from server.cli.quantized import document_of, print_document

    ref = ModelRef.parse(reference)
    named = [*([ref.type] if ref.type else []), *map(canonical_type, types or ())]
    wanted = tuple(dict.fromkeys(named)) or DEFAULT_TYPES
    began = time.monotonic()
    with byte_progress("download") as downloaded, byte_progress("quantize") as quantized:
        outcome = quantize_reference(
            ref.with_type(None),
            wanted,
            store=ModelStore(Paths.from_environment()),
            out_dir=out,
            dry_run=dry_run,
            threads=threads,
            force=force,
            on_download=lambda p: downloaded(p.bytes_done, p.bytes_total),
            on_progress=lambda p: quantized(p.source_bytes_read, p.source_bytes),
        )
    document = document_of(outcome, dry_run=dry_run, seconds=time.monotonic() - began)
    if as_json:
        print_json(document)
        return
    print_document(document)
    if not dry_run and out is None:
        say(f"serve it: corral serve {ref.with_type(None)}")
