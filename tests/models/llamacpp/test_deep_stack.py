from __future__ import annotations

import threading

import pytest

from models.errors import LlamaCppError
from models.llamacpp.deep_stack import call_on_stack


def test_the_result_comes_back_and_the_setting_stays() -> None:
    before = threading.stack_size()
    assert call_on_stack(lambda: threading.current_thread().name, 2**24) == "deep-stack"
    assert threading.stack_size() == before


def test_an_exception_comes_out() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call_on_stack(fail, 2**24)


def test_a_stack_beyond_the_address_space_is_an_error() -> None:
    with pytest.raises(LlamaCppError, match="no thread with a stack of"):
        call_on_stack(lambda: None, 2**46)
