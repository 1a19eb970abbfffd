"""Programs with the kernels of one instruction set, for processors that lack it.

Sets of x86-64 are compiled against emulations of their instructions (`native/emulated_*.h`); sets of 64-bit
Arm are cross-compiled as they are and run under qemu. A missing part is a skip that names its package.
"""

from __future__ import annotations

import os
import platform
import shutil
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from models.llamacpp.kernel_attention import Attention
from models.llamacpp.quantization.ggml_types import blck_size, type_size
from scripts.compiler import X86_64
from scripts.kernel_units import COMMON_FLAGS, flags_of
from server.kernels.attention_check import KV_TYPES

NATIVE = Path("server/kernels/native")
PROGRAMS = Path(__file__).parent / "native"
CROSS_COMPILER = "aarch64-linux-gnu-g++"
NO_KERNELS = 2
"""The exit status of a program whose set has no kernels for a case's type."""


@dataclass(frozen=True)
class Emulation:
    """A set and what runs it here. `compiled_as` is the unit whose flags it gets, if not its own."""

    unit: str
    machine: str = "x86_64"
    headers: tuple[str, ...] = ()
    compiled_as: str = ""

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags of this unit alone."""
        return flags_of(self.compiled_as or self.unit, self.machine)


EMULATIONS: Mapping[str, Emulation] = {
    "avx2": Emulation("set_avx2.cpp"),
    "avx-vnni": Emulation("set_avx_vnni.cpp", headers=("emulated_avx_vnni.h",), compiled_as="set_avx2.cpp"),
    "avx512-vnni": Emulation("set_avx512.cpp", headers=("emulated_avx512.h",), compiled_as="set_avx2.cpp"),
    "amx-int8": Emulation(
        "set_amx.cpp", headers=("emulated_avx512.h", "emulated_tiles.h"), compiled_as="set_avx2.cpp"
    ),
    "neon-dotprod": Emulation("set_neon_dotprod.cpp", "aarch64"),
    "neon-i8mm": Emulation("set_neon_i8mm.cpp", "aarch64"),
}
ATTENTIONS: Mapping[str, Emulation] = {
    "attention_avx2": Emulation("set_avx2_floats.cpp"),
    "attention_avx512": Emulation(
        "set_avx512_floats.cpp", headers=("emulated_avx512.h",), compiled_as="set_avx2.cpp"
    ),
    "attention_neon": Emulation("set_neon_floats.cpp", "aarch64"),
}
"""Sets of attention kernels by their symbols. GELU's are in the same units."""


@dataclass(frozen=True)
class Products:
    """A program's answer: the activations as its kernels see them, and the products by columns together."""

    activations: npt.NDArray[np.float64]
    """[n, k]"""
    of: Mapping[int, npt.NDArray[np.float32]]
    """Of the first nc columns together: [nc, rows]."""


@dataclass(frozen=True)
class Program:
    """A compiled program, with the emulator before it."""

    command: tuple[str, ...]

    def multiply(
        self, ggml_type: int, weights: npt.NDArray[np.uint8], columns: npt.NDArray[np.float32]
    ) -> Products | None:
        """Multiply rows of ggml's blocks with columns; None if the set has no kernels for the type."""
        n, k = columns.shape
        rows = len(weights)
        header = struct.pack("<5i", ggml_type, k, rows, n, type_size(ggml_type))
        done = subprocess.run(
            self.command,
            input=header + weights.tobytes() + columns.tobytes(),
            capture_output=True,
            check=False,
        )
        if done.returncode == NO_KERNELS:
            return None
        assert done.returncode == 0, (self.command, done.returncode, done.stderr.decode())
        group = blck_size(ggml_type)
        quantized = np.frombuffer(done.stdout, np.int8, n * k).reshape(n, k)
        numbers = np.frombuffer(done.stdout, np.float32, offset=n * k)
        scales, products = np.split(numbers, [n * k // group])
        parts = np.split(products, np.cumsum([nc * rows for nc in range(1, n + 1)]))
        assert len(parts[-1]) == 0
        activations = quantized.astype(np.float64) * np.repeat(scales.reshape(n, -1), group, axis=1)
        return Products(activations, {nc: parts[nc - 1].reshape(nc, rows) for nc in range(1, n + 1)})

    def attend(self, tried: Attention) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return [tokens, dv] of the one head of a stream: all tokens together, and each alone.

        Alone they are computed with the keys that they see and no others.
        """
        n_tokens, dk = tried.q.shape[1], tried.q.shape[3]
        assert tried.mask is not None
        assert tried.q.shape[2] == tried.q.shape[0] == 1
        types = (KV_TYPES.index(tried.k_type), KV_TYPES.index(tried.v_type))
        header = struct.pack(
            "<6i2f", *types, dk, tried.dv, tried.k.shape[1], n_tokens, tried.scale, tried.softcap
        )
        arrays = (np.ones(n_tokens, np.float32), tried.q, tried.k, tried.v, tried.mask)
        done = subprocess.run(
            self.command,
            input=header + b"".join(one.tobytes() for one in arrays),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, (self.command, done.returncode, done.stderr.decode())
        together, alone = np.frombuffer(done.stdout, np.float32).reshape(2, n_tokens, tried.dv)
        return together, alone

    def gelu(
        self, x: npt.NDArray[np.float32], gate: npt.NDArray[np.float32] | None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return GELU of the values, times their gates: all together, and each alone."""
        header = struct.pack("<2i", len(x), gate is not None)
        values = x.tobytes() + (b"" if gate is None else gate.tobytes())
        done = subprocess.run(self.command, input=header + values, capture_output=True, check=False)
        assert done.returncode == 0, (self.command, done.returncode, done.stderr.decode())
        together, alone = np.frombuffer(done.stdout, np.float32).reshape(2, -1)
        return together, alone


class Workshop:
    """Compiles each program once, into one folder."""

    def __init__(self, folder: Path, sources: Path) -> None:
        """`sources` is llama.cpp's tree, for ggml's headers."""
        self._folder = folder
        self._includes = (
            "-I",
            str(NATIVE),
            *(f"-isystem{sources / p}" for p in ("ggml/include", "ggml/src")),
        )
        self._made: dict[str, Path] = {}

    def program(self, name: str, *, optimized: bool = False) -> Program:
        """Return the program that multiplies with the set `name`; `optimized`: as the library is compiled."""
        emulation = EMULATIONS[name]
        flags = () if optimized else ("-O0",)
        unit = self._object(
            NATIVE / "sets" / emulation.unit, emulation.machine, self._unit_flags(emulation, flags)
        )
        formats = self._object(NATIVE / "formats.cpp", emulation.machine, ())
        symbol = f"-DCORRAL_SET={Path(emulation.unit).stem}"
        main = self._object(PROGRAMS / "multiply.cpp", emulation.machine, (symbol,))
        return self._linked((main, formats, unit), emulation.machine)

    def attention(self, name: str) -> Program:
        """Return the program that attends with the kernels `name`."""
        return self._of_floats(name, "attend.cpp", f"-DCORRAL_ATTENTION={name}")

    def gelu(self, name: str) -> Program:
        """Return the program that computes GELU with the kernels beside those of attention `name`."""
        return self._of_floats(name, "gelu.cpp", f"-DCORRAL_GELU={name.replace('attention', 'gelu')}")

    def _of_floats(self, name: str, program: str, symbol: str) -> Program:
        emulation = ATTENTIONS[name]
        flags = self._unit_flags(emulation, ("-O1",))
        unit = self._object(NATIVE / "sets" / emulation.unit, emulation.machine, flags)
        main = self._object(PROGRAMS / program, emulation.machine, (symbol,))
        return self._linked((main, unit), emulation.machine)

    def shared_functions(self, name: str) -> list[str]:
        """Return the functions of a set's unit, as it is in the library, that others may be linked to."""
        emulation = {**EMULATIONS, **ATTENTIONS}[name]
        flags = flags_of(emulation.unit, emulation.machine)
        unit = self._object(NATIVE / "sets" / emulation.unit, emulation.machine, flags)
        tool = [compiler(emulation.machine), "-print-prog-name=nm"]
        nm = subprocess.run(tool, capture_output=True, text=True, check=True).stdout.strip()
        command = [nm, "--extern-only", "--defined-only", "--demangle", str(unit)]
        symbols = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        fields = (symbol.split(maxsplit=2) for symbol in symbols)
        return [symbol for _, kind, symbol in fields if kind in "TW"]

    def present_sets(self, machine: str, cpu: str = "", without: str = "") -> list[str]:
        """Return the sets that are present, best first, on this processor or on qemu's `cpu`.

        The set `without` is left out of the program, as one is that the compiler doesn't know.
        """
        main = self._object(PROGRAMS / "present_sets.cpp", machine, (f"-DWITHOUT_{without}",))
        program = self._linked((main, self._object(NATIVE / "sets/candidates.cpp", machine, ())), machine)
        command = [*(emulator(machine, cpu) if cpu else ()), program.command[-1]]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.split()

    def _unit_flags(self, emulation: Emulation, flags: Sequence[str]) -> tuple[str, ...]:
        if any(header != "emulated_tiles.h" for header in emulation.headers):
            _need_simde(compiler(emulation.machine))
        included = (part for header in emulation.headers for part in ("-include", str(PROGRAMS / header)))
        return (*emulation.flags, *included, "-Wno-psabi", *flags)

    def _object(self, source: Path, machine: str, flags: Sequence[str]) -> Path:
        command = [compiler(machine), *COMMON_FLAGS, "-Werror", *flags, *self._includes, "-c", str(source)]
        key = " ".join(command)
        if key not in self._made:
            made = self._folder / f"{len(self._made)}-{source.stem}.o"
            _run([*command, "-o", str(made)])
            self._made[key] = made
        return self._made[key]

    def _linked(self, objects: Sequence[Path], machine: str) -> Program:
        key = " ".join(map(str, objects))
        if key not in self._made:
            made = self._folder / f"{len(self._made)}-program"
            static = () if machine in X86_64 else ("-static",)  # else qemu would look for its libraries
            _run([compiler(machine), *static, *map(str, objects), "-o", str(made)])
            self._made[key] = made
        return Program((*(() if machine in X86_64 else emulator(machine, "max")), str(self._made[key])))


def compiler(machine: str) -> str:
    """Return the compiler for programs of `machine`, or skip."""
    if machine == "aarch64":
        return _need(CROSS_COMPILER, "g++-aarch64-linux-gnu")
    if platform.machine().lower() not in X86_64:
        pytest.skip("x86-64 sets are emulated on x86-64 only")
    return os.environ.get("CXX") or _need("g++", "g++")


def emulator(machine: str, cpu: str) -> tuple[str, ...]:
    """Return the command that runs programs of `machine` as on `cpu`, or skip."""
    return (_need(f"qemu-{machine}", "qemu-user"), "-cpu", cpu)


def _need(command: str, package: str) -> str:
    path = shutil.which(command)
    if path is None:
        pytest.skip(f"no {command}: Debian has it in {package}")
    return path


def _need_simde(compiler: str) -> None:
    probe = "#if !__has_include(<simde/x86/avx512.h>)\n#error missing\n#endif\n"
    command = [compiler, "-fsyntax-only", "-x", "c++", "-"]
    if subprocess.run(command, input=probe, text=True, capture_output=True, check=False).returncode != 0:
        pytest.skip("no simde/x86/avx512.h: Debian has it in libsimde-dev")


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr[-4000:])
