from __future__ import annotations

import numpy as np
import pytest

from models.errors import ContextError
from models.llamacpp.context import Context
from models.llamacpp.model import Model
from tests.models.llamacpp.prefill import PROMPT, prefill

pytestmark = pytest.mark.model


def test_a_cache_beyond_memory_is_refused_before_the_system_kills_us(pico: Model) -> None:
    with pytest.raises(
        ContextError, match=r"no context of 2,000,000,000 tokens .* GiB.*lower --ctx or --parallel"
    ):
        Context(pico, n_ctx=2_000_000_000)


def test_quantized_cache(pico: Model) -> None:
    with Context(pico, n_ctx=256, n_batch=64, n_threads=1, type_k="q8_0", type_v="q8_0") as context:
        assert np.isfinite(prefill(context, 0, PROMPT)).all()
