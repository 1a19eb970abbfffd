"""Hidden states that decodes leave: of which architectures, and which rows."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from models.doctor.tiny_model import write_tiny_gguf
from models.errors import LlamaCppError
from models.llamacpp import library
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.hidden_states import SHOWN_LAYERS, HiddenStates
from models.llamacpp.model import Model

SOURCE = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")
pytestmark = pytest.mark.model
FILES = {"openai-moe": "gpt-oss", "hunyuan-vl": "hunyuan_vl", "nemotron-h": "nemotron_h"}
"""The files of llama.cpp that are named otherwise than their architectures."""


@pytest.mark.skipif(SOURCE is None, reason="CORRAL_LLAMA_CPP_SOURCE doesn't point to llama.cpp's sources")
def test_the_architectures_are_those_whose_graphs_name_the_inputs_of_layers() -> None:
    assert SOURCE is not None
    shown = {
        FILES.get(path.stem, path.stem)
        for path in Path(SOURCE).glob("src/models/*.cpp")
        if re.search(r"t_layer_inp\[\w+\] *=", path.read_text(encoding="utf-8"))
    }
    assert shown == SHOWN_LAYERS


def test_the_input_of_the_first_layer_is_the_embedding_also_in_a_context_allocated_anew(
    tmp_path: Path,
) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    with Model.load(path, use_extra_bufts=False) as model, Context(model, n_ctx=512, n_seq_max=2) as context:
        states, batch = HiddenStates(context, [0, 1]), TokenBatch(16)
        assert states.width == 2 * model.n_embd
        seen = []
        for unified in (False, True):
            context.reopen(kv_unified=unified)
            batch.clear()
            batch.add_many([5, 6, 5], 0, 0, output_last=True)
            batch.add_many([6, 5], 0, 1, output_last=False)
            context.decode(batch)
            seen.append([part.copy() for part in states.rows(5)])
        first, second = seen[0]
        assert (first[[0, 2, 4]] == first[0]).all()
        assert (first[[1, 3]] == first[1]).all()
        assert not np.allclose(second[0], second[2]), "another position"
        for one, other in zip(*seen, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


def test_states_and_logits_are_found_where_llama_cpp_has_moved_them(tmp_path: Path) -> None:
    """More outputs than before take more memory, elsewhere; fewer lie where they lay, other layers before."""
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    with Model.load(path, use_extra_bufts=False) as model, Context(model, n_ctx=256) as context:
        states, batch = HiddenStates(context, [0, 1]), TokenBatch(64)
        for tokens in ([5], [6, 5] * 30, [7, 8], [8] * 64, [9]):
            batch.clear()
            batch.add_many(tokens, 0, 0, output_last=True, output_all=True)
            context.clear()
            context.decode(batch)
            n = len(tokens)
            seen, logits = states.rows(n), context.logits()
            assert logits.shape == (n, context.n_vocab)
            for one, other in zip(seen, HiddenStates(context, [0, 1]).rows(n), strict=True):
                assert one.shape == (n, model.n_embd)
                np.testing.assert_array_equal(one, other)
            last = np.ctypeslib.as_array(
                library.load().llama_get_logits_ith(context.pointer, n - 1), (context.n_vocab,)
            )
            np.testing.assert_array_equal(logits[-1], last)


def test_layers_that_are_not_there_are_refused(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    with Model.load(path) as model, Context(model, n_ctx=256) as context:
        for layer in (-1, 2):
            with pytest.raises(LlamaCppError, match="of a model with 2"):
                HiddenStates(context, [layer])
