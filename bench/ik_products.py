"""`IkProducts`: products of ik_llama.cpp's kernels, timed in a process that is linked with its ggml.

The process is compiled from `ik_products.cpp` against the sources and the build of `bench.peers`.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scripts import compiler
from scripts.steps import SetUpError

_SOURCE = Path(__file__).with_suffix(".cpp")


class IkProducts:
    """A running process that multiplies; see `open_ik_products`."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self._folder = folder

    def seconds(
        self,
        ggml_type: int,
        weights: npt.NDArray[np.uint8],
        columns: npt.NDArray[np.float32],
        repeats: int,
        n_copies: int,
    ) -> float:
        """Return the processor seconds of a product on one thread, with the better of its two layouts.

        One is the file's, the other that of its option `-rtr`. Raises SetUpError when the process ends.
        """
        asked = (ggml_type, columns.shape[1], len(weights), len(columns), n_copies, repeats)
        files = []
        for name, numbers in (("weights", weights), ("inputs", columns)):
            np.ascontiguousarray(numbers).tofile(self._folder / name)
            files.append(str(self._folder / name))
        times = [self._ask(*asked, is_repacked, *files) for is_repacked in (0, 1)]
        return min(one for one in times if one >= 0)

    def _ask(self, *words: object) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SetUpError(f"ik_llama.cpp's products ended with {self._process.wait()}; see above")
        return float(answer)


@contextmanager
def open_ik_products(sources: Path, server: Path) -> Iterator[IkProducts]:
    """Yield the process; `server` is the llama-server of the build, whose libraries it uses.

    Raises SetUpError where it can't be compiled, CompilerMissing without a compiler.
    """
    libraries = server.parent.parent / "ggml" / "src"
    cxx = compiler.find_compiler({})
    with tempfile.TemporaryDirectory(prefix="corral-ik-") as name:
        program = Path(name) / "ik_products"
        command = [str(cxx.path), "-O2", "-std=c++17", f"-I{sources}/ggml/include", f"-I{sources}/ggml/src"]
        command += [str(_SOURCE), "-o", str(program), f"-L{libraries}", "-lggml", f"-Wl,-rpath,{libraries}"]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            raise SetUpError(f"ik_llama.cpp's products can't be compiled: {made.stderr.strip()[-800:]}")
        with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            yield IkProducts(process, Path(name))
            assert process.stdin is not None
            process.stdin.close()
