from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from models.errors import LlamaCppError
from models.llamacpp.batch import TokenBatch
from models.llamacpp.context import Context
from models.llamacpp.eval_callback import (
    Activations,
    MatmulObserver,
    read_weight,
    weight_ops,
    write_weight,
)
from models.llamacpp.model import Model

pytestmark = pytest.mark.model

TOKENS = list(range(3, 35))


def decode(model: Model, observer: MatmulObserver | None) -> npt.NDArray[np.float32]:
    with Context(
        model, n_ctx=256, n_batch=64, n_ubatch=64, n_threads=1, flash_attn="off", observer=observer
    ) as context:
        batch = TokenBatch(64)
        batch.add_many(TOKENS, 0, 0, output_last=True, output_all=True)
        context.decode(batch)
        return context.logits().copy()


def is_weight(name: str) -> bool:
    """Not so the cache, which is multiplied, too."""
    return name.endswith(".weight")


def test_the_layout_and_the_operations() -> None:
    assert len(set(weight_ops())) == 3


def test_every_layer_is_seen_and_nothing_changes(pico: Model) -> None:
    seen: dict[str, Activations] = {}
    observer = MatmulObserver(lambda name: name.startswith("blk."), lambda a: seen.update({a.weight.name: a}))
    assert np.array_equal(decode(pico, observer), decode(pico, None))
    assert len(seen) == 7 * pico.n_layer
    assert set(seen) == set(observer.weights)
    for activations in seen.values():
        assert activations.rows.shape == (len(TOKENS), activations.weight.ne[0])
        assert activations.n_matrices == 1
        assert not activations.routed
    gate, up = seen["blk.0.ffn_gate.weight"], seen["blk.0.ffn_up.weight"]
    assert np.array_equal(gate.rows, up.rows)


def test_a_matmul_is_what_the_rows_say(pico: Model) -> None:
    """The output matrix times the rows that were seen are the logits."""
    seen: list[Activations] = []
    observer = MatmulObserver(lambda name: name == "output.weight", seen.append)
    logits = decode(pico, observer)
    weight = observer.weights["output.weight"]
    matrix = read_weight(weight).view(np.float32).reshape(weight.ne[1], weight.ne[0])
    assert np.allclose(seen[0].rows @ matrix.T, logits, atol=1e-4)


def test_few_rows_are_left_out(pico: Model) -> None:
    seen: list[Activations] = []
    decode(pico, MatmulObserver(lambda _name: True, seen.append, min_rows=len(TOKENS) + 1))
    assert seen == []


def test_what_looking_on_raises_comes_out_of_decode(pico: Model) -> None:
    def fail(_seen: Activations) -> None:
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        decode(pico, MatmulObserver(lambda _name: True, fail))


def test_a_weight_can_be_replaced(pico_path: Path) -> None:
    with Model.load(pico_path, use_mmap=False, use_extra_bufts=False) as model:
        observer = MatmulObserver(lambda _name: True, lambda _seen: None)
        before = decode(model, observer)
        weight = observer.weights["blk.0.attn_q.weight"]
        kept = read_weight(weight)
        write_weight(weight, np.zeros_like(kept))
        assert not np.array_equal(decode(model, None), before)
        write_weight(weight, kept)
        assert np.array_equal(decode(model, None), before)
        with pytest.raises(LlamaCppError, match="were to replace them"):
            write_weight(weight, kept[:-1])


def test_weights_that_meet_the_same_rows_have_one_source(pico: Model) -> None:
    sources: dict[str, tuple[int, ...]] = {}
    decode(pico, MatmulObserver(is_weight, lambda a: sources.update({a.weight.name: a.source})))
    for layer in range(pico.n_layer):
        prefix = f"blk.{layer}."
        q, k, v, o = (sources[f"{prefix}attn_{name}.weight"] for name in ("q", "k", "v", "output"))
        gate, up, down = (sources[f"{prefix}ffn_{name}.weight"] for name in ("gate", "up", "down"))
        assert q == k == v
        assert gate == up
        assert len({q, o, gate, down}) == 4
    assert len(set(sources.values())) == 4 * pico.n_layer + 1


def test_a_graph_ends_behind_a_weight_and_the_context_goes_on(pico: Model) -> None:
    seen: list[str] = []
    observer = MatmulObserver(
        is_weight, lambda a: seen.append(a.weight.name), stop_after="blk.0.ffn_down.weight"
    )
    whole = decode(pico, None)
    ended: list[str] = []
    with Context(
        pico, n_ctx=256, n_batch=64, n_ubatch=16, n_threads=1, flash_attn="off", observer=observer
    ) as context:
        batch = TokenBatch(64)
        batch.add_many(TOKENS, 0, 0, output_last=True, output_all=True)
        for _ in range(2):
            context.clear()
            context.decode(batch)
            ended, seen[:] = list(seen), []
            assert len(ended) == 2 * 7  # two graphs of 16 tokens
            assert all(name.startswith("blk.0.") for name in ended)
    assert np.array_equal(decode(pico, None), whole)


def test_what_looking_on_raises_ends_the_graph_and_the_context_goes_on(pico: Model) -> None:
    fails = [True]
    seen: list[str] = []

    def look(activations: Activations) -> None:
        seen.append(activations.weight.name)
        if fails[0]:
            raise ValueError("no more")

    with Context(
        pico,
        n_ctx=256,
        n_batch=64,
        n_ubatch=64,
        n_threads=1,
        flash_attn="off",
        observer=MatmulObserver(lambda _name: True, look),
    ) as context:
        batch = TokenBatch(64)
        batch.add_many(TOKENS, 0, 0, output_last=True, output_all=True)
        with pytest.raises(ValueError, match="no more"):
            context.decode(batch)
        assert len(seen) == 1
        fails[0] = False
        context.clear()
        context.decode(batch)
        logits = context.logits().copy()
    assert np.array_equal(logits, decode(pico, None))
