"""The memory of the held-out check is what was said before, measured on the demo in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from models.gguf.info import read_gguf_info
from quantize.calibration.check_memory import check_bytes
from quantize.calibration.held_out import CHECK_CHUNKS
from quantize.calibration.verdict import LEAST_WINDOWS
from tests.quantize.quantize_folder import quantize_folder

pytestmark = pytest.mark.model

N_CTX = 256
LIBRARIES = 32 * 2**20
"""llama.cpp, threads and the vocabulary come with the first model; whoever reckons has them in BASE_BYTES."""
MEASURED = """
import json, re, sys
from pathlib import Path
import numpy as np
from models.gguf.info import read_gguf_info
from quantize.calibration.held_out import HeldOutModel, HeldOutText
from quantize.calibration.texts import held_out_text
from quantize.control import JobControl
from quantize.imatrix.matrix import Importance, ImportanceMatrix
from quantize.plan.types import TypeChoice

def peak() -> int:  # ru_maxrss would begin with that of the process that started this one
    (kib,) = re.findall(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())
    return int(kib) * 1024

sixteen, path = map(Path, sys.argv[1:])
tensors = [one for one in read_gguf_info(path).tensors if len(one.shape) == 2]
random = np.random.default_rng(0)
sums = {one.name: random.uniform(0.1, 10.0, (1, one.shape[0])).astype(np.float32) for one in tensors}
entries = {name: Importance(one, np.array([1])) for name, one in sums.items()}
choice = TypeChoice(ImportanceMatrix(entries, ("random",), 1, 1))
largest = max(tensors, key=lambda one: one.n_elements).name
texts = [HeldOutText("held out", held_out_text()[:4000])]
before = peak()
with HeldOutModel(sixteen, texts, choice, n_ctx=256, threads=2) as model:
    verdict = model.verdict("Q4_K_M", path, [largest], JobControl())
print(json.dumps([peak() - before, len(verdict.kinds), verdict.whole[0].n_windows]))
"""


def test_the_check_takes_what_is_said(tmp_path: Path) -> None:
    sixteen, four = (file.path for file in quantize_folder("demo", ["F16", "Q4_K_M"], tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(sixteen), str(four)], capture_output=True, text=True, check=True
    )
    taken, n_kinds, n_windows = json.loads(done.stdout)
    info = read_gguf_info(sixteen)
    largest = max(tensor.n_elements for tensor in info.tensors)
    said = check_bytes(info, largest, n_texts=1, n_windows=n_windows, n_ctx=N_CTX)
    assert n_kinds == 1
    assert LEAST_WINDOWS <= n_windows < CHECK_CHUNKS
    assert 0.4 * said < taken <= said + LIBRARIES
