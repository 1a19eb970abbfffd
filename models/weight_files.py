"""The rule that chooses a checkpoint's weights among the files of a folder or a repository; pure.

transformers looks for `model.safetensors`, then the index of its shards, then `pytorch_model.bin`, then that
one's index, and takes the first it finds, whatever else is there. Shards without an index, and files of other
names, which transformers doesn't find, come after what it does.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final

from models.errors import CheckpointError

INDEX_SUFFIX: Final = ".index.json"

MODULE_FOLDER: Final = r"\d{1,3}_[A-Za-z]{1,64}"
"""The pattern of the name of a folder that holds a sentence-transformers' module, such as `1_Pooling`."""

_STEMS: Final = (("model", ".safetensors"), ("pytorch_model", ".bin"))
"""The names that transformers looks for, in its order."""

_NO_WEIGHTS: Final = (
    ".*",
    "adapter_*",
    "consolidated*",
    "training_args*",
    "optimizer*",
    "scheduler*",
    "rng_state*",
)
"""Files of the same suffixes that are no weights of a checkpoint, or the same ones under Meta's names."""

_SHARD: Final = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.[a-z]+)")

IndexReader = Callable[[str], Mapping[str, str] | None]
"""A function that reads an index by its name and returns its weight_map; None if it isn't here yet."""


@dataclass(frozen=True)
class WeightFiles:
    """The files of a checkpoint's weights, in order.

    `index` is the name of the index that was followed; `weight_map` is its content, where it could be read.
    Without the content the choice may be another: `is_certain` says that it isn't.
    """

    names: tuple[str, ...]
    index: str | None = None
    weight_map: Mapping[str, str] = field(default_factory=dict)
    is_certain: bool = True


def choose_weight_files(names: Collection[str], read_index: IndexReader | None = None) -> WeightFiles | None:
    """Choose among the names of a folder's own files; None if none of them has weights.

    An index that can't be read, as before a download, stands for all complete sets of shards beside it. One
    of which no file is there is left aside where other weights are: it is older than they are.

    Raises CheckpointError: an index names missing files.
    """
    stale: str | None = None
    for stem, suffix in _STEMS:
        if f"{stem}{suffix}" in names:
            return WeightFiles((f"{stem}{suffix}",))
        index = f"{stem}{suffix}{INDEX_SUFFIX}"
        shards = _complete_sets(names, stem, suffix)
        if index in names:
            indexed = _indexed(names, index, shards, read_index)
            if indexed.names:
                return indexed
            stale = stale or index
        elif shards:
            return WeightFiles(shards)
    other = _other_files(names)
    if not other and stale is not None and read_index is not None and (weight_map := read_index(stale)):
        raise _missing(stale, min(weight_map.values()))
    return WeightFiles(other) if other else None


def _indexed(
    names: Collection[str], index: str, shards: tuple[str, ...], read_index: IndexReader | None
) -> WeightFiles:
    """Return the files of an index; no names if none of them is there, and no complete set of shards."""
    weight_map = None if read_index is None else read_index(index)
    if weight_map is None:
        candidates = _of_suffix(names, index.removesuffix(INDEX_SUFFIX))
        is_one_set = candidates == shards and len({_count(name) for name in shards}) == 1
        return WeightFiles(shards or candidates, index, is_certain=is_one_set)
    listed = tuple(sorted(set(weight_map.values())))
    missing = [name for name in listed if name not in names]
    if not missing:
        return WeightFiles(listed, index, weight_map)
    if len(missing) == len(listed):
        return WeightFiles(shards)
    raise _missing(index, missing[0])


def weight_map_of(index: Any, name: str) -> dict[str, str]:
    """Return the weight_map of an index, the JSON object of the file `name`: tensor name → shard, beside it.

    Raises CheckpointError: there is none, or it names a file elsewhere.
    """
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if (
        not isinstance(weight_map, dict)
        or not weight_map
        or not all(isinstance(shard, str) for shard in weight_map.values())
    ):
        raise CheckpointError(f"{name} has no usable weight_map; download it again")
    for shard in sorted(set(weight_map.values())):
        if PurePath(shard).name != shard or shard in (".", ".."):
            raise CheckpointError(f"{name} names a shard outside its folder, {shard!r}; it isn't trusted")
    return weight_map


def _missing(index: str, name: str) -> CheckpointError:
    return CheckpointError(f"{index} names {name}, which is missing; download the checkpoint again")


def _complete_sets(names: Iterable[str], stem: str, suffix: str) -> tuple[str, ...]:
    """Return the shards `stem-0000i-of-0000n` of every n of which all are there."""
    sets: dict[str, set[str]] = {}
    for name in names:
        match = _SHARD.fullmatch(name)
        if match and match["stem"] == stem and match["suffix"] == suffix:
            sets.setdefault(match["count"], set()).add(name)
    complete = (shards for count, shards in sets.items() if len(shards) == int(count))
    return tuple(sorted(name for shards in complete for name in shards))


def _count(name: str) -> str:
    match = _SHARD.fullmatch(name)
    return match["count"] if match else ""


def _other_files(names: Collection[str]) -> tuple[str, ...]:
    """Return files of other names: all of the first kind that is there."""
    for kind in ("model*.safetensors", "*.safetensors", "pytorch_model*.bin"):
        files = tuple(name for name in _weights(names) if fnmatch.fnmatchcase(name, kind))
        if files:
            return files
    return tuple(sorted(name for name in names if name.endswith((".pth", ".pt")) and not _is_state(name)))


def _of_suffix(names: Iterable[str], like: str) -> tuple[str, ...]:
    """Return all weights with the suffix of the name `like`."""
    return tuple(name for name in _weights(names) if name.endswith(f".{like.rpartition('.')[2]}"))


def _weights(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if not any(fnmatch.fnmatchcase(name, glob) for glob in _NO_WEIGHTS))


def _is_state(name: str) -> bool:
    """True for what a training run saves beside the weights. Meta's `consolidated` files are none of it."""
    return not name.startswith("consolidated") and name not in _weights([name])
