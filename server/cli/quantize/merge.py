"""The command `corral merge`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from quantize.merge.write import WrittenCheckpoint


def command(
    recipe: Annotated[Path, typer.Argument(metavar="CONFIG", help="A merge recipe, mergekit's YAML.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The new folder to write the checkpoint to.")],
    shard_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Write weights larger than that in several files.")
    ] = "5GB",
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Threads; not set: one per core.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Merge models by a recipe, into a new checkpoint.

    Models of the Hub are downloaded first if need be. Weights are merged as they are read and written as
    safetensors, with config.json, the tokenizer and a model card; the folder appears when it is whole. To go
    from a recipe straight to GGUF files: corral quantize CONFIG.
    """
    from server.cli.console import duration, print_json, say, size

    began = time.monotonic()
    written, sources = _merge(recipe, out.absolute(), shard_size, threads)
    seconds = time.monotonic() - began
    if as_json:
        print_json(
            {
                "path": str(written.folder),
                "files": list(written.files),
                "size_bytes": written.size_bytes,
                "parameters": written.n_parameters,
                "sources": sources,
                "seconds": round(seconds, 3),
            }
        )
        return
    say(f"{size(written.size_bytes)}, {written.n_parameters:,} parameters, made in {duration(seconds)}")
    say(f"quantize it: corral quantize {written.folder}")


def _merge(
    recipe: Path, out: Path, shard_size: str, threads: int | None
) -> tuple[WrittenCheckpoint, list[str]]:
    """Write the merged checkpoint to `out`, with progress on stderr; return it and its sources' names."""
    from models.errors import ModelNotFound
    from models.machine.hardware import available_cores
    from models.parse_size import parse_size
    from models.paths import Paths
    from models.reference import ModelRef
    from quantize.control import JobControl
    from quantize.merge.composed_checkpoint import find_parts
    from quantize.merge.locate import Locator
    from quantize.merge.recipe import is_recipe
    from quantize.merge.write import write_checkpoint
    from server.cli.progress import byte_progress

    if not is_recipe(recipe):
        raise ModelNotFound(f"{recipe} is no file whose name ends in .yaml; give a merge recipe")
    shard_bytes = parse_size(shard_size)
    ref = ModelRef(kind="path", path=recipe.absolute())
    with byte_progress("download") as on_download, byte_progress("merge") as on_merge:
        control = JobControl(on_download=lambda p: on_download(p.bytes_done, p.bytes_total))
        parts = find_parts(ref, (), Locator(Paths.from_environment(), control=control))
        with parts.open() as checkpoint:
            written = write_checkpoint(
                checkpoint,
                out,
                shard_bytes=shard_bytes,
                threads=threads or available_cores(),
                on_progress=on_merge,
            )
    return written, [place.label for place in parts.locations]
