"""A pico model's moments, of a text of letters drawn by chance, and a calibration by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.paths import Paths
from quantize.calibration.calibration import Calibration
from quantize.evaluate.windows import TextPlan
from quantize.kernels.compiler import KernelCompiler
from quantize.moments.collect import collect_moments
from quantize.moments.file import MomentFile, read_moments


def _words(seed: int, n: int) -> str:
    letters = np.random.default_rng(seed).integers(0, 26, (n, 5))
    return " ".join("".join(chr(97 + letter) for letter in word) for word in letters)


TEXT = _words(1, 1200)
FOREIGN = _words(2, 200)


def collect_pico_moments(sixteen_bits: Path, folder: Path) -> MomentFile:
    """Return the moments of a pico model's 16-bit file, kept in `folder`; the caller closes them."""
    path = folder / "pico.moments.gguf"
    collect_moments(sixteen_bits, TextPlan(TEXT, n_ctx=64, n_chunks=24), path, label="pico text")
    return read_moments(path)


def calibration_by(moments: MomentFile) -> Calibration:
    """Return a calibration whose kernels are compiled once for all tests."""
    return Calibration(moments, KernelCompiler(Paths.from_environment().compiled_dir))
