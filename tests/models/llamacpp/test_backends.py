"""Builds with each backend in a library of its own need them loaded; the others have theirs already."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from models.llamacpp import library


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
