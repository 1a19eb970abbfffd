"""Shared prefixes: the tokens in the KV cache's slots, and those kept outside, found for a new prompt.

checkpoints.py    `Checkpoints`: the places to which a slot that can't be trimmed can go back. Pure.
prefix_cache.py   The prefix cache: the tokens of each slot, and the slot where a new sequence has least to
                  compute.
prefix_source.py  `PrefixSource`: the protocol of prefixes kept outside the KV cache; the worker's are on
                  disk.
radix_tree.py     A radix tree over token sequences: the prefixes that a prompt shares, in one walk along it.
"""
