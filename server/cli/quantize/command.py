"""The command `corral quantize`."""

from __future__ import annotations

from typing import Annotated

import typer

from server.cli.option_groups import with_option_groups
from server.cli.quantize.held_out import CheckFlags
from server.cli.quantize.options import OutputFlags, RunFlags, TypeFlags


@with_option_groups
def command(  # noqa: PLR0913 - its flags
    reference: Annotated[
        str,
        typer.Argument(metavar="REF", help="org/name, a folder with weights, a merge recipe (.yaml), demo."),
    ],
    *,
    output: OutputFlags,
    run: RunFlags,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            "--lora", metavar="DIR[=W]", help="Add a PEFT adapter, times W [1]; may be given several times."
        ),
    ] = None,
    choice: TypeFlags,
    check: CheckFlags,
    report: Annotated[
        bool, typer.Option("--report", help="Measure afterwards what was lost, as corral evaluate does.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Make again what is here already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make GGUF files of a model's weights, all types in one pass.

    The weights are downloaded first if need be. Each tensor is read once and written to every type, without a
    16-bit GGUF in between. A model that sees gets a file more, NAME.mmproj-F16.gguf, which serves all its
    types. Interrupted at any moment, it leaves everything as it was, and the same command goes on where it
    ended. With --out there is a model card beside the files.
    """
    from models.paths import Paths
    from models.store.store import ModelStore
    from quantize.job.ensure_model import require_source
    from quantize.job.request import QuantizeOptions
    from quantize.merge.locate import parse_adapter
    from server.cli.quantize.job import QuantizeJob
    from server.cli.reference import stored_reference

    store = ModelStore(Paths.from_environment())
    ref = stored_reference(reference, store, "last part")
    require_source(ref, store)
    QuantizeJob(
        ref,
        tuple(output.types or ()),
        choice.type_options(output.out, run.threads, stream=run.stream),
        check,
        QuantizeOptions(
            adapters=tuple(parse_adapter(text) for text in lora or ()),
            out_dir=output.out,
            projector=output.projector(),
            with_projector=not output.no_mmproj,
            dry_run=output.dry_run,
            force=force,
            target=output.target_folder,
            own_output=output.own_output,
            run=run.run_options(),
        ),
    ).run(report=report, as_json=as_json)
