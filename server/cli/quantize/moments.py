"""The command `corral moments`."""

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
    text: Annotated[
        str,
        typer.Option(
            metavar="FILE", help="The text that runs through the model (UTF-8); default has many kinds."
        ),
    ] = "default",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where it goes. [NAME.moments.gguf]")
    ] = None,
    chunks: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Stop after so many chunks; not set: all of the text."),
    ] = None,
    ctx: Annotated[int, typer.Option(min=32, metavar="N", help="Tokens of a chunk.")] = 512,
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
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Threads; not set: one per core.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Sum up the second moments of a model's activations over a text.

    They are an importance matrix and more: how the columns of each weight's input go together. Interrupted,
    it keeps what is summed; the same command goes on. A mixture's experts to which few tokens came are named.
    """
    from models.errors import ConfigError
    from models.machine.hardware import available_cores
    from models.parse_size import parse_size
    from quantize.evaluate.windows import TextPlan
    from quantize.imatrix.rare_experts import ENOUGH_TOKENS, names_of, rare_experts
    from quantize.moments.collect import MomentMeans
    from quantize.moments.file import read_moments
    from server.cli.console import print_json, say
    from server.cli.model_files import model_file
    from server.cli.quantize.calibration import text_of
    from server.cli.quantize.collect import collect

    memory_bytes = parse_size(memory) if memory is not None else None
    label, content = text_of(text)
    model = model_file(reference, "F16")
    target = out or Path(f"{model.path.stem}.moments.gguf")
    if target.exists() and not force:
        raise ConfigError(f"{target} exists; remove it, or overwrite it with --force")
    collect(
        model.path,
        TextPlan(content, ctx, chunks),
        target,
        label=label,
        means=MomentMeans(threads or available_cores(), gpu_layers, memory_bytes),
    )
    with read_moments(target) as moments:
        info, inputs = moments.info, moments.inputs
        rare = rare_experts(moments.importance())
    n_inputs = len(set(inputs.values()))
    say(
        f"{target}: {n_inputs} inputs of {len(inputs)} weights, {info.chunks} chunks of {ctx} tokens of "
        f"{label}, {info.held_out_chunks} of them held out"
    )
    if rare:
        say(
            f"warning: fewer than {ENOUGH_TOKENS} tokens came to {len(rare)} of the experts: "
            f"{names_of(rare)}; give a longer or more varied text, or their moments say little"
        )
    if as_json:
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
