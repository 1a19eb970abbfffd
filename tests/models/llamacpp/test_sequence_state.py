"""A state's form, read back from llama.cpp's own bytes and from bytes that lie."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest

from models.llamacpp.context import Context, FlashAttention
from models.llamacpp.model import Model
from models.llamacpp.sequence_state import StateMemory, with_streams
from tests.models.llamacpp.prefill import PROMPT, TOLERANCE, prefill

FLASH: list[FlashAttention] = ["on", "off"]  # without it V lies transposed


@pytest.mark.model
@pytest.mark.parametrize("flash_attn", FLASH)
@pytest.mark.parametrize(("of", "to"), [(False, True), (True, False), (False, False)])
def test_a_state_goes_on_in_another_layout(
    pico: Model, of: bool, to: bool, flash_attn: FlashAttention
) -> None:
    def open_one(kv_unified: bool) -> Context:
        return Context(
            pico,
            n_ctx=1024,
            n_batch=64,
            n_seq_max=4,
            n_threads=1,
            kv_unified=kv_unified,
            flash_attn=flash_attn,
        )

    with open_one(of) as one, open_one(to) as other:
        prefill(one, 1, [301, 302])
        prefill(one, 2, PROMPT)
        state = one.state_seq_get(2)
        expected = prefill(one, 2, [300], len(PROMPT))
        prefill(other, 0, [303])
        other.state_seq_set(3, state)
        assert other.seq_pos_max(3) == len(PROMPT) - 1
        np.testing.assert_allclose(prefill(other, 3, [300], len(PROMPT)), expected, atol=TOLERANCE)


@pytest.mark.model
def test_an_allocation_anew_forgets_all_and_computes_alike(pico: Model) -> None:
    with Context(pico, n_ctx=1024, n_batch=64, n_seq_max=4, n_threads=1) as context:
        expected = prefill(context, 0, PROMPT)
        for kv_unified in (True, False):
            context.reopen(kv_unified=kv_unified)
            assert context.seq_pos_max(0) is None
            assert context.n_ctx_seq == (1024 if kv_unified else 256)
            np.testing.assert_allclose(prefill(context, 0, PROMPT), expected, atol=TOLERANCE)


def cells(n_cells: int, *, transposed: bool, n_layers: int = 2, values: bool = True) -> bytes:
    """A stream of a made-up cache, of some bytes a row."""
    if not n_cells:
        return struct.pack("<I", 0)
    made = struct.pack("<I", n_cells)
    made += b"".join(struct.pack("<iIi", position, 1, 3) for position in range(n_cells))
    made += struct.pack("<II", transposed, n_layers)
    made += b"".join(struct.pack("<iQ", 1, 6) + bytes(6 * n_cells) for _ in range(n_layers))
    if values:
        head = struct.pack("<iII", 1, 2, 3) if transposed else struct.pack("<iQ", 1, 6)
        made += b"".join(head + bytes(6 * n_cells) for _ in range(n_layers))
    return made


def cache(streams: list[int], **options: bool) -> bytes:
    return struct.pack("<I", len(streams)) + b"".join(cells(n_cells, **options) for n_cells in streams)


HEAD = b"magc\x03\0\0\0"


# Two caches are for a sliding window, one without values for latent attention: no model has both.
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("values", "n_caches"), [(True, 1), (True, 2), (False, 1)])
@pytest.mark.parametrize("streams", [[5], [0, 0, 5, 0], [5, 0], [0, 0, 0]])
def test_the_streams_are_as_many_as_wanted(
    streams: list[int], n_caches: int, transposed: bool, values: bool
) -> None:
    options = {"transposed": transposed, "values": values}
    state = HEAD + n_caches * cache(streams, **options)
    one = HEAD + n_caches * cache([max(streams)], **options)
    three = HEAD + n_caches * cache([max(streams), 0, 0], **options)
    assert with_streams(bytearray(state), 1) == one
    assert with_streams(bytearray(state), 3) == (state if len(streams) == 3 else three)
    assert with_streams(with_streams(bytearray(state), 1), 3) == three


def test_what_was_given_back_is_taken_again() -> None:
    memory = StateMemory(100)
    first = memory.take(80)
    memory.give_back(first[10:20])
    again = memory.take(50)
    assert again.nbytes == 50
    assert again.obj is first.obj
    assert memory.take(50).obj is not first.obj, "it is in use"
    memory.give_back(again)
    assert memory.take(81).obj is not first.obj, "it is too small"
    pieces = [memory.take(n_bytes) for n_bytes in (30, 20, 40)]
    for piece in pieces:
        memory.give_back(piece)
    assert [memory.take(20).obj for _ in range(2)] == [pieces[0].obj, pieces[2].obj], "two are kept"
    large = memory.take(101)
    memory.give_back(large)
    assert memory.take(10).obj is not large.obj, "so much isn't kept"


def test_memory_grows_ahead_of_its_need_and_no_further_than_may_be_kept() -> None:
    memory = StateMemory(100)
    memory.grow(64)
    assert not memory.is_to_grow(64)
    ready = memory.take(68)
    assert isinstance(ready.obj, np.ndarray)
    assert ready.obj.nbytes == 68, "it has room for some tokens more"
    assert memory.is_to_grow(64), "it was taken"
    memory.give_back(ready)
    memory.grow(50)
    assert memory.take(50).obj is ready.obj, "it was large enough"
    assert not memory.is_to_grow(101)


def test_any_other_form_stays_as_it_is() -> None:
    good = HEAD + cache([0, 4], transposed=False)
    others = [
        b"",
        HEAD,
        good[:-1],
        good + b"\0",
        HEAD + cache([4, 4], transposed=False),
        HEAD + struct.pack("<I", 0),
        HEAD + 3 * cache([0, 4], transposed=False),
    ]
    for other in others:
        assert with_streams(bytearray(other), 1) == other
    chance = random.Random(1)
    for _ in range(2000):
        wrong = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            wrong[chance.randrange(8, 60)] = chance.randrange(256)
        with_streams(wrong, 1)  # it may be another state of this form, and never an error
