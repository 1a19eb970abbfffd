from __future__ import annotations

import ctypes
import importlib.metadata
import logging
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from models.errors import LlamaCppError
from models.llamacpp import library


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def test_importing_the_package_loads_nothing_native() -> None:
    done = run_python(
        "import sys\n"
        "from models.llamacpp import batch, context, errors, library, model, sampler, vocab\n"
        "from models.llamacpp.quantization import quantizer\n"
        "from models import doctor\n"
        "from models.machine import fit, hardware\n"
        "sys.exit('llama_cpp' in sys.modules or 'gguf' in sys.modules)"
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("version", ["0.3.35", "0.3.360", "1.0"])
def test_another_version_is_refused(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: version)
    with pytest.raises(LlamaCppError, match=rf"{version} is installed.*exactly 0\.3\.36.*make setup"):
        library.require_version()


def test_a_local_build_label_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: "0.3.36+cu124")
    library.require_version()


def test_a_missing_binding_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_name: str) -> str:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(LlamaCppError, match=r"not installed.*make setup"):
        library.require_version()


def test_the_structures_match_the_library() -> None:
    """llama.cpp fills these by value: a shifted field shows as a default that isn't the documented one."""
    native = library.load()
    model = native.llama_model_default_params()
    assert (model.n_gpu_layers, model.split_mode, model.load_mode, model.lazy_mode) == (-1, 1, -1, 1)
    flags = ("vocab_only", "check_tensors", "use_extra_bufts", "no_host", "no_alloc", "load_mtp")
    assert [getattr(model, flag) for flag in flags] == [False, False, True, False, False, False]
    context = native.llama_context_default_params()
    assert (context.n_ctx, context.n_batch, context.n_ubatch, context.n_seq_max) == (512, 2048, 512, 1)
    assert (context.type_k, context.type_v, context.flash_attn_type) == (1, 1, -1)
    assert (context.offload_kqv, context.embeddings, context.kv_unified) == (True, False, False)
    quantize = native.llama_model_quantize_default_params()
    assert (quantize.ftype, quantize.quantize_output_tensor, quantize.max_buf_size) == (7, True, 2**33)
    # GGML_TYPE_COUNT: no override.
    assert (quantize.output_tensor_type, quantize.token_embedding_type) == (43, 43)


def test_functions_of_ggml_are_bound_through_the_one_library() -> None:
    assert library.bind("ggml_blck_size", ctypes.c_int64, ctypes.c_int)(12) == 256


def test_a_missing_function_is_named() -> None:
    with pytest.raises(LlamaCppError, match="doesn't export `llama_no_such_thing`"):
        library.bind("llama_no_such_thing", None)


def test_system_info_and_devices() -> None:
    assert library.system_info().startswith("CPU : ") or "CPU" in library.system_info()
    cpu = [device for device in library.devices() if device.type == "cpu"]
    assert len(cpu) == 1
    assert cpu[0].memory_total >= cpu[0].memory_free > 0


def test_log_lines_are_joined_and_levelled() -> None:
    lines: list[tuple[int, str]] = []
    log = library._Log(lambda level, line: lines.append((level, line)))
    log(2, b"whole\n")
    log(3, b"half ")
    log(3, b"and half\n")
    log(2, b"loading")
    log(5, b" ...")
    log(5, b" done\nnext ")
    log(4, b"failed \xff\n")
    log(1, b"\n\n")
    assert lines == [
        (logging.INFO, "whole"),
        (logging.WARNING, "half and half"),
        (logging.INFO, "loading ... done"),
        (logging.ERROR, "next failed �"),
    ]


def test_what_we_ask_for_is_no_warning() -> None:
    lines: list[tuple[int, str]] = []
    log = library._Log(lambda level, line: lines.append((level, line)))
    expected = b"llama_init_from_model: model default pooling_type is [1], but [0] was specified\n"
    for line in (expected, expected.replace(b"[1]", b"[-1]"), expected.replace(b"[0]", b"[4]")):
        log(3, line)
    assert [level for level, _ in lines] == [logging.DEBUG, logging.DEBUG, logging.WARNING]


def test_only_errors_of_the_block_are_captured() -> None:
    log = library._Log(lambda _level, _line: None)
    log(4, b"before\n")
    with log.capture() as lines:
        log(3, b"a warning\n")
        log(4, b"an error\n")
    log(4, b"after\n")
    assert lines == ["an error"]


def test_the_log_is_quiet_by_default() -> None:
    library.load()
    assert logging.getLogger(library.LOGGER_NAME).level == logging.WARNING


def test_an_abort_gives_its_reason_as_one_line() -> None:
    done = run_python(
        "import ctypes\n"
        "from models.llamacpp import library\n"
        "abort = library.bind('ggml_abort', None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p)\n"
        "abort(b'file.c', 7, b'out of hay')\n"
    )
    assert done.returncode == -6
    assert done.stderr.strip() == "llama.cpp aborted: file.c:7: out of hay"


class Handle:
    """A ctypes library with `n_backends` registered."""

    _name = "/site-packages/llama_cpp/lib/libllama.so"

    def __init__(self, n_backends: int) -> None:
        self.loaded: list[bytes] = []
        self.functions: dict[str, Any] = {
            "ggml_backend_reg_count": self._function(lambda: n_backends),
            "ggml_backend_load_all_from_path": self._function(self.loaded.append),
        }

    def _function(self, call: Any) -> Any:
        class Function(SimpleNamespace):
            def __call__(self, *arguments: Any) -> Any:
                return call(*arguments)

        return Function()

    def __getitem__(self, name: str) -> Any:
        return self.functions[name]


@pytest.mark.parametrize(
    ("n_backends", "loaded"), [(0, [b"/site-packages/llama_cpp/lib"]), (1, []), (2, [])], ids=str
)
def test_backends_are_loaded_from_beside_libllama_if_there_are_none(
    n_backends: int, loaded: list[bytes]
) -> None:
    handle = Handle(n_backends)
    made: Any = SimpleNamespace(handle=handle)
    library._load_backends(made)
    assert handle.loaded == loaded
