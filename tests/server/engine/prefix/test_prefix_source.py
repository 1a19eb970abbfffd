"""The prefix cache with prefixes that are kept outside: what it restores, and what it saves."""

from __future__ import annotations

from server.engine.batch import Adapters, Restore, Save, Trim
from server.engine.prefix.prefix_cache import PrefixCache
from server.engine.prefix.prefix_source import StoredPrefix
from server.engine.prefix.radix_tree import common_prefix
from tests.server.engine.harness import group_of, request
from tests.server.engine.prefix.test_prefix_cache import leave, occupy, sequence

LONG = list(range(1000, 1400))


class Kept:
    """A PrefixSource of one prefix."""

    def __init__(self, tokens: list[int], *, ready: bool = True) -> None:
        self.tokens, self.ready = tokens, ready
        self.asked: list[tuple[list[int], bool]] = []

    def longest(self, tokens: list[int], adapters: Adapters, least: int) -> StoredPrefix | None:
        n_tokens = common_prefix(self.tokens, tokens, len(tokens) - 1)
        return None if adapters or n_tokens < least else StoredPrefix("key", n_tokens, self.ready)

    def wants(self, tokens: list[int], adapters: Adapters, *, beside_others: bool) -> bool:
        self.asked.append((tokens, beside_others))
        return tokens != self.tokens

    def wait(self) -> None:
        self.ready = True


def cache_with(source: Kept, n_slots: int = 2) -> PrefixCache:
    return PrefixCache(n_slots, can_trim=True, copy_tokens_min=32, source=source)


def test_a_kept_prefix_is_restored_when_no_slot_has_as_much() -> None:
    cache = cache_with(Kept(LONG))
    leave(cache, LONG[:200])
    placement = cache.place(sequence([*LONG, 7]))
    assert placement is not None
    assert (placement.slot.id, placement.n_cached) == (1, 400)
    assert placement.memory == [Restore(1, "key", 400)]


def test_a_resident_prefix_that_is_nearly_as_long_is_better() -> None:
    cache = cache_with(Kept(LONG))
    leave(cache, LONG[:300])
    placement = cache.place(sequence([*LONG, 7]))
    assert placement is not None
    assert (placement.slot.id, placement.n_cached, placement.memory) == (0, 300, [])


def test_one_that_is_being_read_is_waited_for() -> None:
    source = Kept(LONG, ready=False)
    cache = cache_with(source)
    placement = cache.place(sequence([*LONG, 7]))
    assert placement is not None
    assert placement.is_loading
    source.wait()
    placement = cache.place(sequence([*LONG, 7]))
    assert placement is not None
    assert not placement.is_loading


def test_who_does_not_want_the_cache_gets_nothing_kept() -> None:
    cache = cache_with(Kept(LONG))
    placement = cache.place(sequence([*LONG, 7], cache_prompt=False))
    assert placement is not None
    assert placement.n_cached == 0
    scored = group_of(request([*LONG, 7], score_prompt=True)).sequences[0]
    placement = cache.place(scored)
    assert placement is not None
    assert placement.n_cached == 0


def test_hot_leftovers_are_saved_before_they_are_overwritten() -> None:
    source = Kept([])
    cache = cache_with(source, n_slots=1)
    leave(cache, LONG)
    placement = cache.place(sequence([9, 9]))
    assert placement is not None
    assert placement.memory == [Trim(0, 0)], "used once, and not very long"
    leave(cache, [*LONG, 5])  # goes on in its slot: used again
    placement = cache.place(sequence([9, 9]))
    assert placement is not None
    assert placement.memory == [Save(0, [*LONG, 5], ()), Trim(0, 0)]
    assert source.asked[-1] == ([*LONG, 5], False)
    leave(cache, list(range(2000)))
    placement = cache.place(sequence([*range(1500), 9]))
    assert placement is not None
    assert placement.memory == [Save(0, list(range(2000)), ()), Trim(0, 1500)], "long ones are hot"
    placement = cache.place(sequence([*range(1990), 9]))
    assert placement is not None
    assert placement.memory == [Trim(0, 1990)], "little is lost"


def test_hot_leftovers_are_saved_before_they_are_given_up() -> None:
    cache = cache_with(Kept([]))
    leave(cache, list(range(2000)))
    leave(cache, [9] * 300)
    assert cache.evict() == [Save(0, list(range(2000)), ()), Trim(0, 0)]
    assert cache.evict() == [Trim(1, 0)], "used once, and not very long"


def test_saving_beside_others_is_said() -> None:
    source = Kept([])
    cache = cache_with(source)
    occupy(cache, [1])
    leave(cache, list(range(2000)))
    cache.place(sequence([9, 9]))
    assert source.asked[-1][1]


def test_leftovers_come_latest_first_and_only_wanted_ones() -> None:
    other = list(range(5000, 5300))
    source = Kept(other)
    cache = cache_with(source, n_slots=5)
    private = sequence(list(range(7000, 7300)), cache_prompt=False)
    placement = cache.place(private)
    assert placement is not None
    cache.acquire(placement, private)
    private.n_computed = 300
    cache.release(private)
    for prompt in (LONG, other, [1, 2, 3], list(range(6000, 6300))):
        leave(cache, prompt)
    assert list(cache.leftovers()) == [Save(4, list(range(6000, 6300)), ()), Save(1, LONG, ())]


def test_a_slot_that_could_not_be_filled_starts_over() -> None:
    cache = cache_with(Kept(LONG))
    owner = sequence([*LONG, 7])
    placement = cache.place(owner)
    assert placement is not None
    cache.acquire(placement, owner)
    assert owner.n_computed == 400
    cache.restart(0)
    assert owner.n_computed == 0
    cache.release(owner)
    cache.restart(0)
    assert cache.slots[0].resident == []
    leave(cache, [1, 2])
    assert cache.n_held_tokens == 2
