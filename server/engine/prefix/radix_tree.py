"""A radix tree over token sequences: the prefixes that a prompt shares, in one walk along it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Holder = TypeVar("Holder", bound=Hashable)


class _Node(Generic[Holder]):
    """An edge of the tree and the node at its end.

    The sequences of `holders` run through the whole edge; they end here or below.
    """

    __slots__ = ("children", "holders", "parent", "tokens")

    def __init__(self, tokens: list[int], parent: _Node[Holder] | None, holders: set[Holder]) -> None:
        self.tokens = tokens
        self.parent = parent
        self.holders = holders
        self.children: dict[int, _Node[Holder]] = {}


class RadixTree(Generic[Holder]):
    """One token sequence per holder; common prefixes are stored once.

    ```
    root ── 5 7 7 ──┬── 1 2          a        a: 5 7 7 1 2
            a b c   ├── 9 9 ── 4     b        b: 5 7 7 9 9 4
                    │   b c                   c: 5 7 7 9 9
    ```
    """

    def __init__(self) -> None:
        self._root: _Node[Holder] = _Node([], None, set())
        self._ends: dict[Holder, _Node[Holder]] = {}

    def __contains__(self, holder: Holder) -> bool:
        """True if the holder has a sequence."""
        return holder in self._ends

    def __len__(self) -> int:
        """The number of holders."""
        return len(self._ends)

    def insert(self, holder: Holder, tokens: list[int]) -> None:
        """Add the sequence of a holder that has none."""
        assert holder not in self._ends
        self._ends[holder] = self._root
        self._grow(holder, self._root, tokens, 0)

    def extend(self, holder: Holder, tokens: list[int], n_known: int) -> None:
        """Extend the holder's sequence, which is the first `n_known` of `tokens`, to all of `tokens`."""
        end = self._ends[holder]
        self._grow(holder, end, tokens, n_known)
        if end.parent is not None:
            self._join(end)

    def remove(self, holder: Holder) -> None:
        """Remove a holder's sequence; a holder without one is fine."""
        node = self._ends.pop(holder, None)
        while node is not None and node.parent is not None:
            parent = node.parent
            node.holders.discard(holder)
            if not node.holders:
                del parent.children[node.tokens[0]]
            else:
                self._join(node)
            node = parent

    def matches(self, tokens: list[int], limit: int) -> Iterator[tuple[int, set[Holder]]]:
        """Yield (length, holders) of each prefix shared with the first `limit` tokens, longest first."""
        path: list[tuple[int, set[Holder]]] = []
        node, at = self._root, 0
        limit = min(limit, len(tokens))
        while at < limit:
            child = node.children.get(tokens[at])
            if child is None:
                break
            n_same = common_prefix(child.tokens, tokens, limit - at, at)
            at += n_same
            path.append((at, child.holders))
            if n_same < len(child.tokens):
                break
            node = child
        deeper: set[Holder] = set()
        for depth, holders in reversed(path):
            if len(holders) > len(deeper):
                yield depth, holders - deeper
            deeper = holders

    # --- inside ----------------------------------------------------------------------------------

    def _grow(self, holder: Holder, node: _Node[Holder], tokens: list[int], at: int) -> None:
        """Continue the holder's sequence from `node`, where its first `at` tokens end."""
        n_tokens = len(tokens)
        while at < n_tokens:
            child = node.children.get(tokens[at])
            if child is None:
                if not node.children and len(node.holders) == 1 and node.parent is not None:
                    node.tokens += tokens[at:]  # a leaf of its own
                else:
                    child = _Node(tokens[at:], node, {holder})
                    node.children[tokens[at]] = child
                    node = child
                break
            n_same = common_prefix(child.tokens, tokens, n_tokens - at, at)
            if n_same < len(child.tokens):
                child = _split(child, n_same)
            child.holders.add(holder)
            node = child
            at += n_same
        self._ends[holder] = node

    def _join(self, node: _Node[Holder]) -> None:
        """Make one edge of `node` and its only child, if no sequence ends between them."""
        if len(node.children) != 1:
            return
        (child,) = node.children.values()
        if len(child.holders) < len(node.holders):
            return
        node.tokens = node.tokens + child.tokens
        node.children = child.children
        for grandchild in node.children.values():
            grandchild.parent = node
        for holder in node.holders:
            if self._ends[holder] is child:
                self._ends[holder] = node


def _split(node: _Node[Holder], n_tokens: int) -> _Node[Holder]:
    """Cut an edge after `n_tokens` and return the new upper part."""
    parent = node.parent
    assert parent is not None
    upper: _Node[Holder] = _Node(node.tokens[:n_tokens], parent, set(node.holders))
    parent.children[upper.tokens[0]] = upper
    node.tokens = node.tokens[n_tokens:]
    node.parent = upper
    upper.children[node.tokens[0]] = node
    return upper


def common_prefix(a: list[int], b: list[int], limit: int, b_start: int = 0) -> int:
    """Return the length of the common prefix of `a` and `b[b_start:]`, at most `limit`.

    It compares slices: C does the work.
    """
    low, high = 0, min(len(a), len(b) - b_start, limit)
    if a[:high] == b[b_start : b_start + high]:
        return high
    step = 64
    while a[low : low + step] == b[b_start + low : b_start + low + step]:
        low += step
        step *= 2
    high = min(high, low + step)
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[b_start + low : b_start + middle]:
            low = middle
        else:
            high = middle - 1
    return low
