"""llama.cpp at work on a tiny model, in a child process (`python -m models.doctor.self_test`).

The child writes a model with random weights, quantizes it as Corral's users do, and decodes a batch of two
sequences: a matrix product over several tokens, which is where broken builds die. What it computes is
compared with the unquantized model.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.doctor.check import Check, fail, ok, warning
from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.machine.child_process import describe_exit, last_line, signal_name

NAME = "self-test"
TIMEOUT_S = 120.0
TYPES = ("Q8_0", "Q4_K_M")
N_TOKENS = 64
MIN_AGREEMENT = {"Q8_0": 0.99, "Q4_K_M": 0.9}
"""The least cosine between the logits of the quantized and the unquantized model; measured 0.9999, 0.965."""


@dataclass(frozen=True)
class Outcome:
    """`agreement`: cosine of the logits with the unquantized model's, by type; empty if the child failed.

    `returncode` None: it took too long.
    """

    returncode: int | None
    stderr: str
    agreement: dict[str, float]

    @property
    def passed(self) -> bool:
        return self.returncode == 0 and all(
            self.agreement.get(name, 0.0) >= least for name, least in MIN_AGREEMENT.items()
        )

    @property
    def text(self) -> str:
        if self.returncode is None:
            return f"took longer than {TIMEOUT_S:g} s"
        if self.returncode != 0:
            return describe_exit(self.returncode, self.stderr)
        return "computed " + ", ".join(f"{name} {value:.3f}" for name, value in self.agreement.items())

    @property
    def died_of(self) -> str | None:
        """The signal that ended the child, if one did."""
        if self.returncode is None or self.returncode >= 0:
            return None
        return signal_name(-self.returncode)


def run(
    *, use_extra_bufts: bool = True, timeout_s: float = TIMEOUT_S, command: Sequence[str] | None = None
) -> Outcome:
    """Run the child and wait for it. `command` replaces it."""
    command = command or [sys.executable, "-m", __name__, *([] if use_extra_bufts else ["--no-extra-bufts"])]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return Outcome(None, "", {})
    agreement: dict[str, float] = {}
    if done.returncode == 0:
        try:
            agreement = {
                str(name): float(value) for name, value in json.loads(last_line(done.stdout)).items()
            }
        except (ValueError, TypeError, AttributeError):
            return Outcome(1, f"nonsense as an answer: {done.stdout[:200]!r}", {})
    return Outcome(done.returncode, done.stderr, agreement)


def judge(first: Outcome, second: Outcome | None, cpu_has_amx: bool) -> Check:
    """The check's result; `second` is the run with use_extra_bufts=False, made when the first failed."""
    if first.passed:
        return ok(NAME, "a tiny model is quantized and decoded rightly: " + first.text)
    if second is not None and second.passed:
        amx = " (the AMX trap: run `make setup` to compile llama.cpp anew)" if cpu_has_amx else ""
        return fail(
            NAME,
            f"llama.cpp {first.text} in a batched decode; with use_extra_bufts off it works",
            f"set CORRAL_USE_EXTRA_BUFTS=false, slower{amx}",
        )
    if first.died_of == "SIGILL":
        return fail(
            NAME,
            "llama.cpp died of SIGILL: it was compiled for another CPU",
            "run `make setup` on this machine to compile it here",
        )
    if first.returncode == 0:
        return fail(
            NAME,
            f"llama.cpp computes wrongly: {first.text} where 1.000 is equal",
            "run `make setup` to compile it anew, with another compiler if that doesn't help",
        )
    if first.returncode is None:
        return warning(NAME, f"the test {first.text}", "stop what else runs here, and try again")
    return fail(NAME, f"llama.cpp {first.text}", "run `make setup` to compile it anew")


def check(cpu_has_amx: bool) -> Check:
    """Run the test, and once more without extra buffer types if it fails."""
    first = run()
    second = None if first.passed else run(use_extra_bufts=False)
    return judge(first, second, cpu_has_amx)


def agreements(directory: Path, *, use_extra_bufts: bool) -> dict[str, float]:
    """The child's work: cosine of each type's logits with those of the unquantized model."""
    from models.llamacpp.quantization.ggml_types import FTYPES
    from models.llamacpp.quantization.quantizer import quantize_file

    source = write_tiny_gguf(directory / "f32.gguf", TinyModel())
    expected = _logits(source, use_extra_bufts=False)
    found = {}
    for name in TYPES:
        path = directory / f"{name}.gguf"
        quantize_file(source, path, FTYPES[name], n_threads=1)
        found[name] = _cosine(expected, _logits(path, use_extra_bufts=use_extra_bufts))
    return found


def _logits(path: Path, *, use_extra_bufts: bool) -> npt.NDArray[np.float32]:
    from models.llamacpp.batch import TokenBatch
    from models.llamacpp.context import Context
    from models.llamacpp.model import Model

    with (
        Model.load(path, use_extra_bufts=use_extra_bufts) as model,
        Context(model, n_ctx=512, n_batch=N_TOKENS, n_ubatch=N_TOKENS, n_seq_max=2, n_threads=1) as context,
    ):
        batch = TokenBatch(N_TOKENS)
        for sequence in range(2):
            tokens = np.arange(N_TOKENS // 2, dtype=np.int32) + 259 + sequence
            batch.add_many(tokens, 0, sequence, output_last=True, output_all=True)
        context.decode(batch)
        prompt = context.logits().copy()
        batch.clear()
        for sequence in range(2):
            batch.add(300 + sequence, N_TOKENS // 2, sequence, output=True)
        context.decode(batch)
        return np.concatenate([prompt, context.logits()])


def _cosine(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return 0.0
    return float(np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def main(arguments: list[str]) -> int:
    from models.errors import LlamaCppError

    try:
        with tempfile.TemporaryDirectory(prefix="corral-self-test-") as directory:
            found = agreements(Path(directory), use_extra_bufts="--no-extra-bufts" not in arguments)
    except LlamaCppError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
