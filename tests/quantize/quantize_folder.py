"""A checkpoint quantized into a folder, through the service or by its plan alone, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.checkpoint.checkpoint import Checkpoint
from quantize.job.request import QuantizeOptions
from quantize.job.service import quantize_reference
from quantize.plan.make_plan import make_plan
from quantize.run.options import RunOptions
from quantize.run.pipeline import run
from quantize.run.writer import WrittenFile


def quantize_folder(
    source: Path | str,
    types: Sequence[str],
    out_dir: Path,
    *,
    threads: int = 2,
    target: Path | None = None,
    own_output: bool = False,
) -> tuple[WrittenFile, ...]:
    """Quantize a folder, a GGUF file or "demo" to all `types` in one pass, into `out_dir`.

    `target`: the folder of the model that a head drafts for; `own_output`: the head gets its output matrix.
    """
    ref = ModelRef.parse(str(source))
    store = ModelStore(Paths(home=out_dir / ".store", hf_cache=out_dir / ".hub"))
    options = QuantizeOptions(
        out_dir=out_dir, target=target, own_output=own_output, run=RunOptions(threads=threads)
    )
    return quantize_reference(ref, types, store=store, options=options).files


def run_plan(
    source: Path, types: Sequence[str], out_dir: Path, *, options: RunOptions | None = None
) -> tuple[WrittenFile, ...]:
    """Plan and run alone: files without the keys that the service adds, as converters make them."""
    with Checkpoint.open(source) as checkpoint:
        plan = make_plan(checkpoint, types)
        paths = [out_dir / f"{source.name}.{file.type}.gguf" for file in plan.files]
        return run(plan, checkpoint.tensors, paths, options or RunOptions(threads=2))
