from __future__ import annotations

from server.engine.batch import Copy, Trim
from server.engine.prefix.prefix_cache import PrefixCache
from server.engine.sequence import Sequence
from tests.server.engine.harness import group_of, request

SYSTEM = list(range(100, 200))


def sequence(prompt: list[int], *, cache_prompt: bool = True) -> Sequence:
    return group_of(request(prompt, cache_prompt=cache_prompt)).sequences[0]


def occupy(cache: PrefixCache, prompt: list[int]) -> Sequence:
    """Put a sequence into the cache with all its prompt computed."""
    new = sequence(prompt)
    placement = cache.place(new)
    assert placement is not None
    cache.acquire(placement, new)
    new.n_computed = len(prompt)
    return new


def leave(cache: PrefixCache, prompt: list[int]) -> None:
    cache.release(occupy(cache, prompt))


def cache_of(n_slots: int, *, can_trim: bool = True) -> PrefixCache:
    return PrefixCache(n_slots, can_trim=can_trim, copy_tokens_min=32)


def test_an_empty_cache_gives_the_lowest_slot() -> None:
    placement = cache_of(3).place(sequence(SYSTEM))
    assert placement is not None
    assert (placement.slot.id, placement.n_cached, placement.memory) == (0, 0, [])


def test_the_next_turn_of_a_chat_goes_on_in_its_slot() -> None:
    cache = cache_of(3)
    leave(cache, [1, 2, 3])
    leave(cache, SYSTEM)
    placement = cache.place(sequence([*SYSTEM, 7, 8]))
    assert placement is not None
    assert (placement.slot.id, placement.n_cached, placement.memory) == (1, 100, [])


def test_the_same_prompt_again_computes_its_last_token() -> None:
    cache = cache_of(1)
    leave(cache, SYSTEM)
    placement = cache.place(sequence(SYSTEM))
    assert placement is not None
    assert placement.n_cached == 99
    assert placement.memory == [Trim(0, 99)]


def test_another_chat_with_the_same_beginning_copies_it_and_leaves_the_first() -> None:
    cache = cache_of(3)
    leave(cache, [*SYSTEM, *range(500)])
    placement = cache.place(sequence([*SYSTEM, 7]))
    assert placement is not None
    assert (placement.slot.id, placement.n_cached, placement.memory) == (1, 100, [Copy(0, 1, 100)])


def test_a_running_sequence_shares_what_it_has_computed() -> None:
    cache = cache_of(2)
    owner = occupy(cache, SYSTEM)
    owner.n_computed = 60
    placement = cache.place(sequence([*SYSTEM, 7]))
    assert placement is not None
    assert (placement.slot.id, placement.memory) == (1, [Copy(0, 1, 60)])


def test_what_is_still_to_be_computed_is_known() -> None:
    cache = cache_of(2)
    owner = occupy(cache, SYSTEM)
    owner.n_computed = 10
    assert cache.shareable_later(sequence([*SYSTEM, 7])) == 100
    owner.n_computed = 99
    assert cache.shareable_later(sequence([*SYSTEM, 7])) == 0, (
        "the owner generates: there is nothing to wait for"
    )


def test_a_short_prefix_is_not_worth_a_copy() -> None:
    cache = cache_of(2)
    occupy(cache, SYSTEM)
    placement = cache.place(sequence([*SYSTEM[:20], 7]))
    assert placement is not None
    assert (placement.n_cached, placement.memory) == (0, [])


def test_the_least_recently_used_slot_is_given_up() -> None:
    cache = cache_of(3)
    for first in (1000, 2000, 3000):
        leave(cache, list(range(first, first + 50)))
    leave(cache, list(range(1000, 1050)))  # used again
    placement = cache.place(sequence([9, 9]))
    assert placement is not None
    assert (placement.slot.id, placement.memory) == (1, [Trim(1, 0)])


def test_no_place_while_all_slots_are_owned() -> None:
    cache = cache_of(1)
    occupy(cache, [1, 2, 3])
    assert cache.place(sequence([4])) is None


def test_the_only_idle_slot_is_reused_even_for_a_part_of_it() -> None:
    cache = cache_of(2)
    leave(cache, [*SYSTEM, *range(500)])
    occupy(cache, [1, 2, 3])
    placement = cache.place(sequence([*SYSTEM, 7]))
    assert placement is not None
    assert (placement.slot.id, placement.n_cached, placement.memory) == (0, 100, [Trim(0, 100)])


def test_without_trimming_only_a_whole_slot_is_reused() -> None:
    cache = cache_of(2, can_trim=False)
    leave(cache, SYSTEM)
    whole = cache.place(sequence([*SYSTEM, 7]))
    assert whole is not None
    assert (whole.slot.id, whole.n_cached, whole.memory) == (0, 100, [])
    part = cache.place(sequence([*SYSTEM[:50], 7]))
    assert part is not None
    assert (part.n_cached, part.memory) == (0, [])
    assert cache.shareable_later(sequence(SYSTEM)) == 0


def test_a_request_without_the_cache_takes_nothing_from_others() -> None:
    cache = cache_of(1)
    leave(cache, SYSTEM)
    placement = cache.place(sequence([*SYSTEM, 7], cache_prompt=False))
    assert placement is not None
    assert (placement.n_cached, placement.memory) == (0, [Trim(0, 0)])


def test_choices_of_one_request_share_even_without_the_cache() -> None:
    cache = cache_of(2)
    first, second = group_of(request(SYSTEM, n=2, cache_prompt=False)).sequences
    placement = cache.place(first)
    assert placement is not None
    cache.acquire(placement, first)
    first.n_computed = 100
    placement = cache.place(second)
    assert placement is not None
    assert placement.memory == [Copy(0, 1, 99)]


def test_evict_gives_up_idle_slots_oldest_first_and_then_nothing() -> None:
    cache = cache_of(3)
    leave(cache, [1, 1])
    leave(cache, [2, 2])
    occupy(cache, [3, 3])
    assert [cache.evict(), cache.evict(), cache.evict()] == [[Trim(0, 0)], [Trim(1, 0)], []]
    assert cache.n_held_tokens == 2


def test_of_the_older_half_the_slot_beside_running_ones_is_given_up() -> None:
    cache = cache_of(6)
    running = [occupy(cache, list(range(first, first + 50))) for first in range(0, 600, 100)]
    for slot in (5, 1, 0, 2, 4):
        cache.release(running[slot])
    placement = cache.place(sequence([9, 9]))
    assert placement is not None
    assert placement.slot.id == 5, "no older slot is beside slot 3"
    cache = cache_of(6)
    running = [occupy(cache, list(range(first, first + 50))) for first in range(0, 600, 100)]
    for slot in (5, 2, 0, 1, 4):
        cache.release(running[slot])
    placement = cache.place(sequence([9, 9]))
    assert placement is not None
    assert placement.slot.id == 2


def test_what_a_running_sequence_has_generated_is_shared_too() -> None:
    cache = cache_of(2)
    owner = occupy(cache, SYSTEM)
    owner.tokens += range(300, 360)
    owner.n_computed = 150
    placement = cache.place(sequence([*SYSTEM, *range(300, 360), 7]))
    assert placement is not None
    assert placement.memory == [Copy(0, 1, 150)]
    cache.release(owner)
    placement = cache.place(sequence([*SYSTEM, *range(300, 350), 7]))
    assert placement is not None
    assert (placement.slot.id, placement.n_cached, placement.memory) == (0, 150, [])


def test_a_sequence_that_ends_early_leaves_what_it_has_computed() -> None:
    cache = cache_of(1)
    owner = occupy(cache, SYSTEM)
    owner.n_computed = 40
    cache.release(owner)
    placement = cache.place(sequence(SYSTEM))
    assert placement is not None
    assert (placement.n_cached, placement.memory) == (40, [])


def test_other_adapters_share_nothing() -> None:
    cache = cache_of(1)
    leave(cache, SYSTEM)
    other = group_of(request([*SYSTEM, 7], adapters=((1, 0.5),))).sequences[0]
    placement = cache.place(other)
    assert placement is not None
    assert placement.n_cached == 0


def test_what_the_window_has_forgotten_is_not_shared() -> None:
    asked: list[tuple[int, int]] = []

    def holds(slot: int, n_tokens: int) -> bool:
        asked.append((slot, n_tokens))
        return n_tokens >= 80

    cache = PrefixCache(1, can_trim=True, copy_tokens_min=32, holds=holds)
    leave(cache, [*SYSTEM, 5])
    part = cache.place(sequence([*SYSTEM[:90], 7]))
    too_early = cache.place(sequence([*SYSTEM[:70], 7]))
    whole = cache.place(sequence([*SYSTEM, 5, 7]))
    assert part is not None
    assert too_early is not None
    assert whole is not None
    assert (part.n_cached, too_early.n_cached, whole.n_cached) == (90, 0, 101)
    assert asked == [(0, 90), (0, 70)], "a whole slot always goes on"


def test_a_window_is_not_asked_about_what_is_still_to_come() -> None:
    """A sequence was just placed: the copy that gives it its tokens isn't made yet."""
    cache = PrefixCache(3, can_trim=True, copy_tokens_min=8, holds=lambda _slot, _n: True)
    first = occupy(cache, SYSTEM)
    second = sequence([*SYSTEM, 1])
    placement = cache.place(second)
    assert placement is not None
    cache.acquire(placement, second)
    cache.release(first)
    assert cache.evict() == [Trim(0, 0)]
    third = cache.place(sequence([*SYSTEM[:50], 2]))
    assert third is not None
    assert third.n_cached == 0
    second.n_computed += 1
    third = cache.place(sequence([*SYSTEM[:50], 2]))
    assert third is not None
    assert third.n_cached == 50
