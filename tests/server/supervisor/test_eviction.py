from __future__ import annotations

import random

from server.supervisor.eviction import Tenant, victims

GIB = 1 << 30


def tenant(key: str, gib: float = 1, idle_s: float = 60, load_s: float = 5, priority: int = 0) -> Tenant:
    return Tenant(key, int(gib * GIB), idle_s, load_s, priority)


def test_the_longest_idle_goes_where_all_else_is_alike() -> None:
    assert victims([tenant("a", idle_s=10), tenant("b", idle_s=100), tenant("c", idle_s=50)], 1) == ["b"]


def test_memory_and_the_time_of_a_load_count_too() -> None:
    assert victims([tenant("small", gib=1), tenant("large", gib=4)], 1) == ["large"]
    assert victims([tenant("slow", load_s=60), tenant("quick", load_s=1)], 1) == ["quick"]
    assert victims([tenant("large", gib=8, idle_s=30), tenant("old", gib=1, idle_s=40)], 1) == ["large"]


def test_a_lower_priority_goes_first_whatever_else() -> None:
    assert victims([tenant("a", gib=9, idle_s=9999), tenant("b", idle_s=1, priority=-1)], 1) == ["b"]
    assert victims([tenant("a", priority=2), tenant("b", priority=1)], 2 * GIB) == ["b", "a"]


def test_several_go_where_one_is_not_enough_and_none_that_could_stay() -> None:
    tenants = [tenant("a", gib=1, idle_s=90), tenant("b", gib=2, idle_s=20), tenant("c", gib=2, idle_s=10)]
    assert victims(tenants, 3 * GIB) == ["a", "b"]
    assert victims(tenants, 4 * GIB) == ["b", "c"]  # the first in line is of no use
    assert victims(tenants, 99 * GIB) == ["a", "b", "c"]
    assert victims([], 1) == []


def test_any_choice_is_enough_and_has_no_one_too_many() -> None:
    dice = random.Random(7)
    for _ in range(500):
        tenants = [
            tenant(
                str(i), dice.uniform(0.1, 8), dice.uniform(0, 999), dice.uniform(0, 60), dice.randint(-1, 1)
            )
            for i in range(dice.randint(1, 7))
        ]
        shortage = int(dice.uniform(0.1, 20) * GIB)
        sizes = {one.key: one.memory_bytes for one in tenants}
        going = victims(tenants, shortage)
        freed = sum(sizes[key] for key in going)
        assert freed >= shortage or len(going) == len(tenants)
        if freed >= shortage:
            assert len(going) == 1 or all(freed - sizes[key] < shortage for key in going)
