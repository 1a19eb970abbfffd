"""`DrySamplers`: llama.cpp's DRY samplers of one vocabulary, each made once and copied from then on."""

from __future__ import annotations

import ctypes
import threading
import weakref
from typing import Any, NamedTuple

from models.llamacpp import library

_N_KEPT = 32
"""So many samplers are kept to be copied."""


class DrySettings(NamedTuple):
    """The arguments of llama.cpp's sampler. A breaker is a text of at most 40 bytes."""

    multiplier: float
    base: float
    allowed_length: int
    last_n: int
    breakers: tuple[str, ...]


class DrySamplers:
    """Makes samplers for sequences. Any thread may call any method.

    To make one, llama.cpp compares each breaker with the text of every token: tens of milliseconds for a
    large vocabulary, for each. A copy has the outcome. So a thread beside the engine makes the first
    (`prepare`), and the engine copies it for each of a request's choices.
    """

    def __init__(self, vocab_pointer: int) -> None:
        self._vocab_pointer = vocab_pointer
        self._native = library.load()
        self._lock = threading.Lock()
        self._kept: dict[DrySettings, _Sampler] = {}

    def prepare(self, settings: DrySettings) -> None:
        """Make the sampler that `copy` will copy, if it isn't kept."""
        self._original(settings)

    def copy(self, settings: DrySettings) -> Any:
        """Return a new llama_sampler*, which the caller frees."""
        return self._native.llama_sampler_clone(self._original(settings).pointer)

    def _original(self, settings: DrySettings) -> _Sampler:
        with self._lock:
            kept = self._kept.pop(settings, None)
            if kept is not None:
                self._kept[settings] = kept  # the last is the one that was used last
                return kept
        made = _Sampler(self._native, self._vocab_pointer, settings)  # no other thread waits for this
        with self._lock:
            self._kept[settings] = made
            if len(self._kept) > _N_KEPT:
                self._kept.pop(next(iter(self._kept)))
        return made


class _Sampler:
    """One sampler, which nobody uses but to copy it; freed with the object."""

    def __init__(self, native: Any, vocab_pointer: int, settings: DrySettings) -> None:
        texts = [text.encode() for text in settings.breakers]
        array = (ctypes.c_char_p * max(len(texts), 1))(*texts)
        self.pointer: Any = native.llama_sampler_init_dry(
            vocab_pointer,
            settings.multiplier,
            settings.base,
            settings.allowed_length,
            settings.last_n,
            array,
            len(texts),
        )
        weakref.finalize(self, native.llama_sampler_free, self.pointer).atexit = False
