"""`call_on_stack`: a call on a thread with a stack of the size that it needs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from models.errors import LlamaCppError

T = TypeVar("T")

_stack_size_lock = threading.Lock()  # threading.stack_size belongs to the whole process


def call_on_stack(function: Callable[[], T], stack_bytes: int) -> T:
    """Return `function()`, run on a thread with `stack_bytes` of stack; its exception comes out here.

    Several of llama.cpp's pre-tokenizers use std::regex, which recurses once per character of a match: 40,000
    digits in a row end an 8 MiB stack, and with it the process. A thread's stack is only reserved, not used,
    until something recurses that deep. Raises LlamaCppError if the system doesn't grant such a thread.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001  # raised again by the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="deep-stack")
    with _stack_size_lock:
        before = threading.stack_size(stack_bytes)
        try:
            thread.start()
        except RuntimeError:
            raise LlamaCppError(
                f"the system grants no thread with a stack of {stack_bytes >> 20} MiB; shorten the text, "
                "or raise the limit on address space"
            ) from None
        finally:
            threading.stack_size(before)
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
