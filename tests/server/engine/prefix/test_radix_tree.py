from __future__ import annotations

import random

import pytest

from server.engine.prefix.radix_tree import RadixTree, common_prefix


def plain_common_prefix(a: list[int], b: list[int], limit: int) -> int:
    n = 0
    while n < min(len(a), len(b), limit) and a[n] == b[n]:
        n += 1
    return n


def shared_by(tree: RadixTree[str], tokens: list[int], limit: int = 10_000) -> dict[str, int]:
    """Each holder that shares anything, and how much; matches must come longest first, each holder once."""
    found: dict[str, int] = {}
    depths = []
    for depth, holders in tree.matches(tokens, limit):
        depths.append(depth)
        assert holders
        assert not holders & set(found)
        found.update(dict.fromkeys(holders, depth))
    assert depths == sorted(set(depths), reverse=True)
    return found


@pytest.mark.parametrize("seed", range(50))
def test_common_prefix_equals_the_plain_loop(seed: int) -> None:
    chance = random.Random(seed)
    a = [chance.randrange(3) for _ in range(chance.randrange(400))]
    b = a[: chance.randrange(len(a) + 1)] + [chance.randrange(3) for _ in range(chance.randrange(300))]
    start = chance.choice([0, 0, 7])
    limit = chance.choice([0, 1, 50, 1000])
    assert common_prefix(a, [9] * start + b, limit, start) == plain_common_prefix(a, b, limit)


def test_a_sequence_and_its_beginnings() -> None:
    tree: RadixTree[str] = RadixTree()
    tree.insert("a", [5, 7, 7, 1, 2])
    tree.insert("b", [5, 7, 7, 9, 9, 4])
    tree.insert("c", [5, 7, 7, 9, 9])
    assert shared_by(tree, [5, 7, 7, 9, 9, 4, 4]) == {"a": 3, "b": 6, "c": 5}
    assert shared_by(tree, [5, 7]) == {"a": 2, "b": 2, "c": 2}
    assert shared_by(tree, [5, 7, 7, 1, 2], limit=4) == {"a": 4, "b": 3, "c": 3}
    assert shared_by(tree, [1]) == {}
    assert shared_by(tree, []) == {}


def test_a_removed_sequence_leaves_the_others_as_they_were() -> None:
    tree: RadixTree[str] = RadixTree()
    tree.insert("a", [1, 2, 3, 4])
    tree.insert("b", [1, 2, 5])
    tree.remove("a")
    tree.remove("a")
    assert shared_by(tree, [1, 2, 3, 4]) == {"b": 2}
    assert shared_by(tree, [1, 2, 5]) == {"b": 3}
    assert "a" not in tree
    assert len(tree) == 1


def test_extending_goes_on_from_the_end() -> None:
    tree: RadixTree[str] = RadixTree()
    tree.insert("a", [1, 2])
    tree.insert("b", [1, 2, 3, 4])
    tree.extend("a", [1, 2, 3, 9], 2)
    assert shared_by(tree, [1, 2, 3, 9, 9]) == {"a": 4, "b": 3}
    tree.extend("b", [1, 2, 3, 4, 5, 6], 4)
    assert shared_by(tree, [1, 2, 3, 4, 5, 6]) == {"a": 3, "b": 6}


def n_nodes(tree: RadixTree[str]) -> int:
    found, nodes = -1, [tree._root]
    while nodes:
        nodes += nodes.pop().children.values()
        found += 1
    return found


@pytest.mark.parametrize("seed", range(100))
def test_random_changes_against_plain_lists(seed: int) -> None:
    chance = random.Random(seed)
    tree: RadixTree[str] = RadixTree()
    held: dict[str, list[int]] = {}

    def some_tokens() -> list[int]:
        start = chance.choice([*held.values(), []])
        kept = start[: chance.randrange(len(start) + 1)]
        return kept + [chance.randrange(3) for _ in range(chance.randrange(12))]

    for _ in range(200):
        name = chance.choice("abcdefgh")
        if name not in held:
            held[name] = some_tokens()
            tree.insert(name, held[name])
        elif chance.random() < 0.5:
            tree.remove(name)
            del held[name]
        else:
            n_known = len(held[name])
            held[name] = held[name] + some_tokens()
            tree.extend(name, held[name], n_known)
        wanted, limit = some_tokens(), chance.choice([3, 1000])
        plain = {who: plain_common_prefix(tokens, wanted, limit) for who, tokens in held.items()}
        assert shared_by(tree, wanted, limit) == {who: n for who, n in plain.items() if n}
        assert n_nodes(tree) < max(1, 2 * len(held)), "edges that could be one"
    for name in list(held):
        tree.remove(name)
    assert n_nodes(tree) == 0
