"""The command `corral moments`."""

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
    text: Annotated[
        str,
        typer.Option(
            metavar="FILE", help="The text that runs through the model (UTF-8); default has many kinds."
        ),
    ] = "default",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where it goes. [NAME.moments.gguf]")
    ] = None,
    ctx: Annotated[int, typer.Option(min=32, metavar="N", help=CTX_HELP)] = 512,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Memory for the sums, such as 8GiB; with less, the text runs more often. [half the free]",
        ),
    ] = None,
    gpu_layers: Annotated[
        int, typer.Option(min=0, metavar="N", help="Layers that are computed on a GPU.")
    ] = 0,
    *,
    flags: TextRunFlags,
) -> None:
    """Sum up the second moments of a model's activations over a text.

    They are an importance matrix and more: how the columns of each weight's input go together. Interrupted,
    it keeps what is summed; the same command goes on. A mixture's experts to which few tokens came are named.
    """
    from models.parse_size import parse_size
    from quantize.evaluate.windows import TextPlan
    from quantize.imatrix.rare_experts import names_of, rare_experts
    from quantize.moments.collect import MomentMeans
    from quantize.moments.file import read_moments
    from quantize.moments.moments import ENOUGH_FOR_CORRELATIONS
    from server.cli.console import print_json, say
    from server.cli.quantize.calibration import text_of
    from server.cli.quantize.collect import collect

    memory_bytes = parse_size(memory) if memory is not None else None
    label, content = text_of(text)
    model, target = flags.model_and_target(reference, out, "moments")
    collect(
        model,
        TextPlan(content, ctx, flags.chunks),
        target,
        label=label,
        means=MomentMeans(flags.n_threads, gpu_layers, memory_bytes),
    )
    with read_moments(target) as moments:
        info, inputs = moments.info, moments.inputs
        rare = rare_experts(moments.importance(), ENOUGH_FOR_CORRELATIONS)
    n_inputs = len(set(inputs.values()))
    say(
        f"{target}: {n_inputs} inputs of {len(inputs)} weights, {info.chunks} chunks of {ctx} tokens of "
        f"{label}, {info.held_out_chunks} of them held out"
    )
    if rare:
        say(
            f"warning: fewer than {ENOUGH_FOR_CORRELATIONS} tokens came to {len(rare)} of the experts: "
            f"{names_of(rare)}; their moments say too little, so calibrated rounding leaves them plain; "
            "give a longer or more varied text"
        )
    if flags.as_json:
        print_json(
            {
                "file": str(target),
                "text": info.label,
                **{name: value for name, value in asdict(info).items() if name != "label"},
                "inputs": n_inputs,
                "weights": len(inputs),
                "rare_experts": [asdict(expert) for expert in rare],
            }
        )
