"""A test of llama.cpp at work on a tiny model, in a child process.

The child (`python -m models.doctor.self_test`) writes a model with random weights, quantizes it as Corral's
users do, and decodes a batch of two sequences: a matrix product over several tokens, which is where broken
builds die. What it computes is compared with the unquantized model.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from models.doctor.check import Check, fail, ok, warning
from models.doctor.tiny_model import TinyModel, write_tiny_gguf
from models.machine.child_process import ChildFailed, ChildTimedOut, ask_child, module_command, signal_name

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

NAME = "self-test"
TIMEOUT_S = 120.0
TYPES = ("Q8_0", "Q4_K_M")
N_TOKENS = 64
MIN_AGREEMENT = {"Q8_0": 0.99, "Q4_K_M": 0.9}
"""The least cosine between the logits of the quantized and the unquantized model; measured 0.9999, 0.965."""


@dataclass(frozen=True)
class Outcome:
    """A run of the child."""

    agreement: Mapping[str, float] = field(default_factory=dict)
    """The cosine of each type's logits with the unquantized model's; empty if the child failed."""
    failure: ChildFailed | None = None
    """The reason why there is no answer."""

    @property
    def passed(self) -> bool:
        """True if all types agree closely enough with the unquantized model."""
        return self.failure is None and all(
            self.agreement.get(name, 0.0) >= least for name, least in MIN_AGREEMENT.items()
        )

    @property
    def text(self) -> str:
        """The outcome in words, for after "llama.cpp …"."""
        if self.failure is not None:
            return self.failure.text
        return "computed " + ", ".join(f"{name} {value:.3f}" for name, value in self.agreement.items())

    @property
    def died_of(self) -> str | None:
        """The signal that ended the child, if one did."""
        status = None if self.failure is None else self.failure.returncode
        return signal_name(-status) if status is not None and status < 0 else None


def run(
    *, use_extra_bufts: bool = True, timeout_s: float = TIMEOUT_S, command: Sequence[str] | None = None
) -> Outcome:
    """Run the child and wait for it. `command` replaces it."""
    command = command or module_command(__name__, *([] if use_extra_bufts else ["--no-extra-bufts"]))
    try:
        agreement = ask_child(command, timeout_s, _parse)
    except ChildFailed as failure:
        return Outcome(failure=failure)
    return Outcome(agreement)


def _parse(answer: Mapping[str, float]) -> dict[str, float]:
    return {str(name): float(value) for name, value in answer.items()}


def judge(first: Outcome, second: Outcome | None, cpu_has_amx: bool) -> Check:
    """Return the check's result; `second` is the run with use_extra_bufts=False, if the first failed."""
    if first.passed:
        return ok(NAME, "a tiny model is quantized and decoded rightly: " + first.text)
    if second is not None and second.passed:
        amx = " (the AMX trap: run `make setup` to compile llama.cpp again)" if cpu_has_amx else ""
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
    if first.failure is None:
        return fail(
            NAME,
            f"llama.cpp computes wrongly: {first.text} where 1.000 is equal",
            "run `make setup` to compile it again, with another compiler if that doesn't help",
        )
    if isinstance(first.failure, ChildTimedOut):
        return warning(NAME, f"the test {first.text}", "stop what else runs here, and try again")
    return fail(NAME, f"llama.cpp {first.text}", "run `make setup` to compile it again")


def check(cpu_has_amx: bool) -> Check:
    """Run the test, and once more without extra buffer types if it fails."""
    first = run()
    second = None if first.passed else run(use_extra_bufts=False)
    return judge(first, second, cpu_has_amx)


def agreements(directory: Path, *, use_extra_bufts: bool) -> dict[str, float]:
    """Return the cosine of each type's logits with those of the unquantized model: the child's work."""
    from models.llamacpp.quantization.ggml_types import FTYPES
    from models.llamacpp.quantization.quantizer import quantize_file

    source = write_tiny_gguf(directory / "f32.gguf", TinyModel())
    expected = _logits(source, use_extra_bufts=False)
    cosines = {}
    for name in TYPES:
        path = directory / f"{name}.gguf"
        quantize_file(source, path, FTYPES[name], n_threads=1)
        cosines[name] = _cosine(expected, _logits(path, use_extra_bufts=use_extra_bufts))
    return cosines


def _logits(path: Path, *, use_extra_bufts: bool) -> npt.NDArray[np.float32]:
    import numpy as np

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
    import numpy as np

    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return 0.0
    return float(np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def main(arguments: list[str]) -> int:
    """Print the agreements as one line of JSON, or an error as one line on stderr: the child's work."""
    from models.errors import LlamaCppError

    try:
        with tempfile.TemporaryDirectory(prefix="corral-self-test-") as directory:
            answer = agreements(Path(directory), use_extra_bufts="--no-extra-bufts" not in arguments)
    except LlamaCppError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
