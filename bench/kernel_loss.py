"""The loss of each type of file, computed with our kernels and with ggml's: divergence from exact numbers.

    python -m bench.kernel_loss [SOURCE] [--text FILE] [--types Q4_K_M Q8_0] [--windows 64] [--json FILE]

SOURCE is a checkpoint's folder or `demo`. Its file in F32, with keys and values in F32 and without flash
attention, says what is exact. Each other type is loaded twice, into our panels and as ggml has it, and both
see the same tokens at the same time: what the two differ by is judged window by window, and has far less
chance in it than either divergence. Kernels are all that we have, those of attention too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from models.errors import CorralError, LlamaCppError
from models.llamacpp.model import Model
from models.paths import Paths
from models.reference import ModelRef
from models.store.store import ModelStore
from quantize.evaluate.divergence import Divergences, Figure, log_softmax
from quantize.evaluate.service import DEMO_TEXT
from quantize.evaluate.windows import TextPlan, WindowRunner, cut_windows, read_text
from quantize.job.request import QuantizeOptions
from quantize.job.service import quantize_reference
from quantize.run.options import RunOptions
from server.kernels.front import Kernels, kernels_of_process, leave_to_llama_cpp, take_again

TYPES = ("Q4_K_M", "Q4_K_S", "Q5_K_M", "Q6_K", "Q8_0", "Q4_0", "IQ4_NL", "IQ4_XS", "F16", "BF16")
"""Files all of whose matrices have kernels."""
EXACT = "F32"

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Loss:
    """A type's mean KL divergences in nats of each window of a text: with our kernels and with ggml's own."""

    type: str
    n_matrices: int
    """So many of its matrices lay in panels."""
    ours: Doubles
    own: Doubles

    def document(self) -> dict[str, object]:
        """Return it as plain data, which `from_document` reads."""
        return {
            "type": self.type,
            "n_matrices": self.n_matrices,
            "ours": self.ours.tolist(),
            "own": self.own.tolist(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Loss:
        """Return what `document` gave."""
        ours, own = np.array(document["ours"]), np.array(document["own"])
        return cls(document["type"], document["n_matrices"], ours, own)

    @property
    def difference(self) -> Figure:
        """The part by which ours is more than ggml's, and the standard error of that."""
        whole = self.own.mean()
        ratio = self.ours.mean() / whole
        spread = (self.ours - ratio * self.own).std(ddof=1)
        return Figure(float(ratio - 1.0), float(spread / np.sqrt(len(self.own)) / whole))


class _Sides:
    """One file's runners, with our kernels and with ggml's, and what they differ by from what is exact."""

    def __init__(self, ours: WindowRunner, own: WindowRunner, kernels: Kernels) -> None:
        self._ours, self._own, self._kernels = ours, own, kernels
        self.means: tuple[list[float], list[float]] = ([], [])

    def run(self, group: range, exact: npt.NDArray[np.float32]) -> None:
        """Compute the windows of a group with both, and note each window's divergence from `exact`."""
        take_again(self._kernels)  # attention is whoever's it is at the moment
        self._note(0, self._ours, group, exact)
        leave_to_llama_cpp()
        self._note(1, self._own, group, exact)

    def _note(self, side: int, runner: WindowRunner, group: range, exact: npt.NDArray[np.float32]) -> None:
        divergences = Divergences()
        divergences.add(exact, log_softmax(runner.logits(group)))
        self.means[side].extend(divergences.kl.reshape(len(group), -1).mean(axis=1).tolist())


def measure(paths: Mapping[str, Path], exact: Path, plan: TextPlan, *, threads: int) -> list[Loss]:
    """Measure the file of each type beside `exact`. Raises CorralError: no kernels, too little text."""
    kernels = kernels_of_process()  # before the first load, which settles where weights may lie
    if kernels.library is None:
        raise LlamaCppError(f"there are no kernels to measure: {kernels.reason}")
    with ExitStack() as stack:

        def load(path: Path) -> Model:
            return stack.enter_context(Model.load(path))

        def runner(model: Model, *, is_exact: bool = False) -> WindowRunner:
            opened = WindowRunner(model, windows, threads=threads, is_exact=is_exact)
            stack.callback(opened.close)
            return opened

        leave_to_llama_cpp()
        base = load(exact)
        windows = cut_windows(base, plan)
        base_runner = runner(base, is_exact=True)
        sides: dict[str, _Sides] = {}
        n_matrices: dict[str, int] = {}
        for type_, path in paths.items():
            before = kernels.library.n_matrices
            take_again(kernels)
            ours = load(path)
            leave_to_llama_cpp()
            n_matrices[type_] = kernels.library.n_matrices - before
            sides[type_] = _Sides(runner(ours), runner(load(path)), kernels)
        for group in windows.groups():
            log_p = log_softmax(base_runner.logits(group))
            for side in sides.values():
                side.run(group, log_p)
        take_again(kernels)
    return [
        Loss(type_, n_matrices[type_], *(np.array(means) for means in side.means))
        for type_, side in sides.items()
    ]


def quantize(source: str, types: Sequence[str], folder: Path, threads: int) -> dict[str, Path]:
    """Write the files of all types into a folder, each once; return their paths by type."""
    store = ModelStore(Paths(home=folder / ".store", hf_cache=folder / ".hub"))
    options = QuantizeOptions(out_dir=folder, with_projector=False, run=RunOptions(threads=threads))
    files = quantize_reference(ModelRef.parse(source), types, store=store, options=options).files
    return {type_: next(file.path for file in files if f".{type_}." in file.path.name) for type_ in types}


def table(losses: Sequence[Loss]) -> str:
    """Return a Markdown table."""
    lines = [
        "| type | matrices | Corral's, nats | ggml's, nats | difference |",
        "| ---- | -------: | -------------: | -----------: | ---------: |",
    ]
    for loss in losses:
        difference = loss.difference
        lines.append(
            f"| {loss.type} | {loss.n_matrices} | {loss.ours.mean():.3g} | {loss.own.mean():.3g} "
            f"| {difference.value:+.2%} ± {difference.error:.2%} |"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Print the table, and how many tokens it is of."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="?", default="demo")
    parser.add_argument("--text", type=Path, default=DEMO_TEXT)
    parser.add_argument("--types", nargs="+", default=list(TYPES))
    parser.add_argument("--windows", type=int, help="so many of the text's first; all of them by default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the divergences of each window there")
    options = parser.parse_args(argv)
    try:
        plan = TextPlan(read_text(options.text.read_bytes()), n_chunks=options.windows)
        with tempfile.TemporaryDirectory() as folder:
            paths = quantize(options.source, [EXACT, *options.types], Path(folder), options.threads)
            losses = measure(paths, paths.pop(EXACT), plan, threads=options.threads)
    except (CorralError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.json is not None:
        options.json.write_bytes(msgspec.json.encode([loss.document() for loss in losses]))
    print(table(losses))
    print(f"{len(losses[0].own)} windows of {plan.n_ctx} tokens, the second half of each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
