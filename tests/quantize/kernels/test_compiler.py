"""The compiler of the kernels gives way to ggml, and keeps what it compiled where it is told to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.llamacpp.quantization.ggml_types import GGML_TYPES, row_size
from quantize.kernels import compiler
from quantize.kernels.compiler import KernelCompiler
from quantize.kernels.k_quants import Kernels

pytestmark = pytest.mark.model


def test_without_a_compiler_ggml_encodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_cache_dir: Path) -> Kernels:
        raise ImportError("no numba")

    monkeypatch.setattr(compiler, "compile_kernels", missing)
    kernels = KernelCompiler(tmp_path)
    assert kernels.wait() is None
    rows, kind = np.ones((1, 256), np.float32), GGML_TYPES["Q4_K"]
    out = np.zeros(row_size(kind, 256), np.uint8)
    assert kernels.quantize_rows(kind, rows, out) == len(out)


def test_nothing_is_compiled_before_it_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []

    def fail(cache_dir: Path) -> Kernels:
        folders.append(cache_dir)
        raise ImportError("no numba")

    monkeypatch.setattr(compiler, "compile_kernels", fail)
    kernels = KernelCompiler(tmp_path)
    assert folders == []
    kernels.start()
    kernels.start()
    kernels.wait()
    assert folders == [tmp_path]
