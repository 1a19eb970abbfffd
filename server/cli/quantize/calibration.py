"""`--calibrate`: the moments that a pass rounds by, from their file, or collected from a text first."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.errors import ConfigError
from models.gguf.info import read_gguf_info
from models.machine.hardware import available_cores
from models.reference import ModelRef
from models.store.atomic_write import disk_errors
from quantize.calibration.calibration import Calibration
from quantize.calibration.texts import DEFAULT_LABEL, default_text
from quantize.evaluate.windows import TextPlan, read_text
from quantize.job.foresight import Foresight, TextToCollect
from quantize.job.held_out_check import HeldOutCheck
from quantize.kernels.compiler import KernelCompiler
from quantize.moments.collect import MomentMeans
from quantize.moments.file import MomentFile, read_moments
from quantize.moments.model_hash import model_hash
from server.cli.console import say
from server.cli.model_files import plain_file
from server.cli.quantize.collect import collect
from server.cli.quantize.sixteen_bits import sixteen_bits

DEFAULT: Final = "default"
"""The name of the text that calibration comes with."""
CHUNKS: Final = 128
"""Moments of a text are collected from so many chunks of it at most; corral moments takes more."""

_GGUF: Final = b"GGUF"


@dataclass(frozen=True)
class CalibrateOptions:
    """The value of --calibrate, a file of moments, a text, or DEFAULT; and what collecting may use.

    `out`: the folder that moments of a text are kept in; `is_streamed`: no weights are to be kept.
    """

    file: str
    out: Path
    threads: int | None
    memory_bytes: int | None
    is_streamed: bool = False


Foresee = Callable[[TextToCollect], Foresight]
"""A function that looks ahead at the pass, and raises what it would refuse."""


@contextmanager
def calibration(
    ref: ModelRef, options: CalibrateOptions, kernels: KernelCompiler, foresee: Foresee, check: HeldOutCheck
) -> Iterator[Calibration | None]:
    """Yield the calibration of a model; its file is open in the block. None: all is here, so calibrated.

    Where moments have to be collected, what can be refused is refused before. Raises ConfigError: no file,
    or one with another text's moments in the way, or too short a text of the `check`; QuantizationError: no
    numba, or no moments; and what `foresee`, collecting, and making the 16-bit file raise.
    """
    kernels.feedback()
    file = Path(options.file)
    is_file = options.file != DEFAULT and _is_gguf(file)
    path = file if is_file else _collected(ref, options, foresee, check)
    if path is None:
        yield None
        return
    with read_moments(path) as moments:
        yield Calibration(moments, kernels)


def text_of(name: str) -> tuple[str, str]:
    """Return the label and the text that a name stands for: DEFAULT's, or a file's. Raises ConfigError."""
    if name == DEFAULT:
        return DEFAULT_LABEL, default_text()
    return name, read_text(plain_file(Path(name)))


def text_to_collect(name: str) -> TextToCollect:
    """Return the text that a name stands for, as far as a pass collects its moments. Raises ConfigError."""
    label, text = text_of(name)
    return TextToCollect(label, TextPlan(text, n_chunks=CHUNKS))


def _is_gguf(path: Path) -> bool:
    """Tell a file of moments, which may be of gigabytes, from a text."""
    try:
        with path.open("rb") as file:
            return file.read(len(_GGUF)) == _GGUF
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror or error}; check the path") from error


def _collected(
    ref: ModelRef, options: CalibrateOptions, foresee: Foresee, check: HeldOutCheck
) -> Path | None:
    """Return the path of a text's moments, which are collected unless they are there; None: no need."""
    wanted = text_to_collect(options.file)
    target = options.out / f"{ref.name.rsplit('/', 1)[-1]}.moments.gguf"
    is_there = target.exists()
    seen = None if is_there else foresee(wanted)
    if seen is not None and not seen.is_needed:
        return None
    model = sixteen_bits(ref, is_streamed=options.is_streamed)
    if is_there:
        with read_moments(target) as moments:
            _check_same(moments, target, wanted.plan.text, model)
        say(f"moments as {target} has them")
        return target
    if seen is not None and not seen.is_planned:  # now its weights are here
        foresee(wanted)
    wanted.n_chunks(model)
    check.n_windows(model)
    with disk_errors(f"write {target.name}", options.out, "--out"):
        options.out.mkdir(parents=True, exist_ok=True)
    collect(
        model,
        wanted.plan,
        target,
        label=wanted.label,
        means=MomentMeans(options.threads or available_cores(), memory_bytes=options.memory_bytes),
    )
    say(f"the moments are kept: {target}")
    return target


def _check_same(moments: MomentFile, path: Path, text: str, model: Path) -> None:
    """Raise ConfigError unless the moments are of this text and model."""
    info = moments.info
    same_text = info.text_sha256 == hashlib.sha256(text.encode()).hexdigest()
    if same_text and info.model_hash == model_hash(read_gguf_info(model)):
        return
    other = f"text, {info.label}" if not same_text else f"model, {info.model}"
    raise ConfigError(
        f"{path} has the moments of another {other}; remove it, or give it itself: --calibrate {path}"
    )
