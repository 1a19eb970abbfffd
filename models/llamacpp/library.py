"""The loading of llama.cpp: its version, its log, its devices; everything native starts at `load`.

Not a wrapper of every function: the sibling modules call the ctypes definitions of `llama_cpp.llama_cpp`
through the module that `load` returns, and `bind` adds those that the bindings leave out. Those
definitions and the C++ symbol names belong to exactly one version, hence `require_version`.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import importlib.metadata
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from models.errors import LlamaCppError
from models.machine.device import Device

REQUIRED_VERSION = "0.3.36"
LOGGER_NAME = "corral.llama"

LogSink = Callable[[int, str], None]
"""A sink takes a level of `logging` and a line without its newline; it is called on the thread that logs."""

# enum ggml_log_level; 5 continues the line before it, whatever its level.
_LEVELS = {1: logging.DEBUG, 2: logging.INFO, 3: logging.WARNING, 4: logging.ERROR}
_LEVEL_CONTINUE = 5

# enum ggml_backend_dev_type
_DEVICE_TYPES = {0: "cpu", 1: "gpu", 2: "igpu", 3: "accel", 4: "meta"}


_EXPECTED = (
    re.compile(r"applying manual override"),
    re.compile(r"tensor overrides to CPU are used with mmap"),
    re.compile(r"model default pooling_type is \[-?\d+\], but \[0\] was specified"),
)
"""llama.cpp warns so for each tensor that has its type from us, for experts that stay on the CPU, and for
each context whose vectors we pool ourselves (`server.worker.pooled.runner`)."""
_CAPTURED_MAX = 32
"""The log keeps at most this many error lines of a call."""


class _Log:
    """The log: it joins llama.cpp's pieces into lines, and keeps error lines for a thread that captures.

    A line may come in several calls (progress dots, type fall-backs), always from one thread: the
    buffer is per thread. llama.cpp calls it on any thread; ctypes takes the GIL around each call.
    """

    def __init__(self, sink: LogSink | None) -> None:
        self.sink = sink
        self._local = threading.local()
        self._logger = logging.getLogger(LOGGER_NAME)

    def __call__(self, ggml_level: int, text: bytes) -> None:
        local = self._local
        pending: str = getattr(local, "pending", "")
        if ggml_level == _LEVEL_CONTINUE or pending:
            level: int = getattr(local, "level", logging.INFO)
            level = max(level, _LEVELS.get(ggml_level, level))
        else:
            level = _LEVELS.get(ggml_level, logging.INFO)
        *lines, local.pending = (pending + text.decode("utf-8", "replace")).split("\n")
        local.level = level
        for line in lines:
            self._emit(level, line)

    def _emit(self, level: int, line: str) -> None:
        if not line.strip():
            return
        if any(each.search(line) for each in _EXPECTED):
            level = logging.DEBUG
        captured: list[str] | None = getattr(self._local, "captured", None)
        if captured is not None and level >= logging.ERROR and len(captured) < _CAPTURED_MAX:
            captured.append(line)
        if self.sink is not None:
            self.sink(level, line)
        elif self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", line)

    def capture_from_now(self) -> list[str]:
        """Return the list that collects this thread's error lines until the next call; for hot paths."""
        lines: list[str] = []
        self._local.captured = lines
        return lines

    @contextmanager
    def capture(self) -> Iterator[list[str]]:
        before = getattr(self._local, "captured", None)
        lines: list[str] = []
        self._local.captured = lines
        try:
            yield lines
        finally:
            self._local.captured = before


class _Library:
    """The loaded library; there is one per process and it is never unloaded."""

    def __init__(self, native: ModuleType, log: _Log) -> None:
        self.native = native
        self.log = log
        # The bindings' own handle: a second one would be a second copy of the library.
        self.handle: Any = native._lib  # noqa: SLF001 - the bindings' only handle
        self.callbacks: list[Any] = []  # ctypes callbacks live as long as C may call them
        self.bound: dict[str, Any] = {}


_lock = threading.Lock()
_loaded_libraries: list[_Library] = []  # none or one


def require_version() -> None:
    """Raise LlamaCppError unless the installed llama-cpp-python is exactly `REQUIRED_VERSION`."""
    try:
        installed = importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        raise LlamaCppError(
            f"llama-cpp-python is not installed; Corral needs exactly {REQUIRED_VERSION}: run `make setup`"
        ) from None
    # A CUDA or Vulkan build of the same sources may carry a local label: 0.3.36+cu124.
    if installed.partition("+")[0] != REQUIRED_VERSION:
        raise LlamaCppError(
            f"llama-cpp-python {installed} is installed; Corral's native layouts belong to exactly "
            f"{REQUIRED_VERSION}: run `make setup`"
        )


def load(log: LogSink | None = None) -> ModuleType:
    """Load llama.cpp once and return its ctypes definitions (`llama_cpp.llama_cpp`). Thread-safe.

    The first call initialises the backends and takes over llama.cpp's log: lines go to `log`, or
    else to the logger "corral.llama", which passes warnings and worse until its level is set.
    A later call with `log` replaces the sink. Raises LlamaCppError: wrong version, or the library
    can't be loaded.
    """
    return _loaded(log).native


def _loaded(log: LogSink | None = None) -> _Library:
    with _lock:
        if not _loaded_libraries:
            _loaded_libraries.append(_load(log))
        elif log is not None:
            _loaded_libraries[0].log.sink = log
        return _loaded_libraries[0]


def _load(sink: LogSink | None) -> _Library:
    require_version()
    try:
        native = importlib.import_module("llama_cpp.llama_cpp")
    except (ImportError, OSError, RuntimeError) as error:
        raise LlamaCppError(f"llama.cpp's library can't be loaded: {error}; run `corral doctor`") from error
    logger = logging.getLogger(LOGGER_NAME)
    logger.addHandler(logging.NullHandler())
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)
    library = _Library(native, _Log(sink))
    _take_over_log(library)
    _take_over_abort(library)
    native.llama_backend_init()
    _load_backends(library)
    return library


def _load_backends(library: _Library) -> None:
    """Load ggml's backends where each is a library of its own next to libllama (GGML_BACKEND_DL).

    ggml takes the best of several for this CPU. Other builds have their backends from the start.
    """
    count = library.handle["ggml_backend_reg_count"]
    count.restype = ctypes.c_size_t
    if count() == 0:
        load_all = library.handle["ggml_backend_load_all_from_path"]
        load_all.restype, load_all.argtypes = None, [ctypes.c_char_p]
        load_all(os.fsencode(os.path.dirname(library.handle._name)))  # noqa: PTH120, SLF001 - for C, and the bindings' only handle


def take_over_log(set_log: Callable[[Any, None], None]) -> None:
    """Have another of llama.cpp's libraries write to the same log; `set_log` is its function for that."""
    library = _loaded()
    set_log(library.callbacks[0], None)
    atexit.register(set_log, library.native.llama_log_callback(0), None)


def _take_over_log(library: _Library) -> None:
    native, log = library.native, library.log

    @native.llama_log_callback  # type: ignore[untyped-decorator]  # the bindings have no types
    def on_log(level: int, text: bytes, _user_data: Any) -> None:
        log(level, text)

    library.callbacks.append(on_log)
    native.llama_log_set(on_log, None)
    # A backend may still log while the process ends, when Python can't be called any more.
    atexit.register(native.llama_log_set, native.llama_log_callback(0), None)


def _take_over_abort(library: _Library) -> None:
    """Make ggml_abort's reason one line on stderr, for the parent to show; the process still aborts."""
    try:
        set_callback = library.handle.ggml_set_abort_callback
    except AttributeError:
        return
    callback_type = ctypes.CFUNCTYPE(None, ctypes.c_char_p)

    def write_reason(message: bytes | None) -> None:
        os.write(2, b"llama.cpp aborted: " + (message or b"no reason given").strip() + b"\n")

    on_abort = callback_type(write_reason)
    library.callbacks.append(on_abort)
    set_callback.argtypes = [callback_type]
    set_callback.restype = ctypes.c_void_p
    set_callback(on_abort)
    atexit.register(set_callback, callback_type(0))


def bind(name: str, restype: Any, *argtypes: Any) -> Any:
    """Return the exported function `name` (C, or a mangled C++ name) with its types set. It releases the GIL.

    Looked up through libllama and the libraries it needs, so there is one copy of ggml in the process.
    Raises LlamaCppError if this build doesn't export it.
    """
    library = _loaded()
    function = library.bound.get(name)
    if function is None:
        try:
            # by index: a fresh object per bind, so types set here never leak into the bindings' own.
            function = library.handle[name]
        except AttributeError:
            raise LlamaCppError(
                f"this build of llama.cpp doesn't export `{name}`; Corral needs llama-cpp-python "
                f"{REQUIRED_VERSION} as `make setup` builds it"
            ) from None
        function.restype = restype
        function.argtypes = list(argtypes)
        library.bound[name] = function
    return function


def error_log() -> _Log:
    """Return the log, which collects error lines without a `with`: see `capture_from_now`."""
    return _loaded().log


@contextmanager
def capture_errors() -> Iterator[list[str]]:
    """Collect the error lines that llama.cpp logs on this thread while the block runs."""
    with _loaded().log.capture() as lines:
        yield lines


def system_info() -> str:
    """Return llama.cpp's line about the CPU features and backends that this build uses."""
    return str(load().llama_print_system_info().decode())


def library_path() -> str:
    """Return the path of the libllama that is loaded."""
    return str(_loaded().handle._name)  # noqa: SLF001 - the bindings' only handle


def devices() -> list[Device]:
    """Return every device that ggml's backends offer, the CPU included. Memory as the backend reports it."""
    get = bind("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
    name = bind("ggml_backend_dev_name", ctypes.c_char_p, ctypes.c_void_p)
    description = bind("ggml_backend_dev_description", ctypes.c_char_p, ctypes.c_void_p)
    kind = bind("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)
    size_p = ctypes.POINTER(ctypes.c_size_t)
    memory = bind("ggml_backend_dev_memory", None, ctypes.c_void_p, size_p, size_p)
    listed = []
    for index in range(bind("ggml_backend_dev_count", ctypes.c_size_t)()):
        device = get(index)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        memory(device, ctypes.byref(free), ctypes.byref(total))
        listed.append(
            Device(
                name=name(device).decode(),
                description=description(device).decode(),
                type=_DEVICE_TYPES.get(kind(device), "accel"),
                memory_total=total.value,
                memory_free=free.value,
            )
        )
    return listed
