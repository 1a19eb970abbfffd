"""A child process that measures files' divergence from a baseline with the kernels that it is told to use.

`python -m tests.server.kernels.divergence_child KERNELS N_PARTS N_WINDOWS BASELINE FILE …` prints one line of
JSON: the number of matrices in panels, and the mean KL divergences in nats [part of the text][file].
llama.cpp settles at a process's first load where weights may lie, so each choice has a process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from models.llamacpp import library
from quantize.evaluate.measure import measure
from quantize.evaluate.service import DEMO_TEXT
from quantize.evaluate.windows import TextPlan
from server.kernels.use import choose_kernels
from server.serve_options import ServeOptions


def main(kernels: str, n_parts: str, n_windows: str, baseline: str, *files: str) -> None:
    """Measure all files over so many parts of the demo model's text, the first windows of each."""
    library.load()
    choice = choose_kernels(ServeOptions(kernels="on" if kernels == "on" else "off"), is_all_on_gpu=False)
    text = DEMO_TEXT.read_text(encoding="utf-8")
    length = len(text) // int(n_parts)
    means = []
    for start in range(0, length * int(n_parts), length):
        plan = TextPlan(text[start : start + length], n_chunks=int(n_windows))
        found = measure([Path(file) for file in files], Path(baseline), plan, threads=2)
        means.append([one.divergence.mean.value for one in found if one.divergence is not None])
    print(json.dumps([choice.report().n_matrices, means]))


if __name__ == "__main__":
    main(*sys.argv[1:])
