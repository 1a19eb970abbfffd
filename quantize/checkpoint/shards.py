"""Several files that are one checkpoint: the index beside them, and whether it says what the files hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from models.errors import CheckpointError
from quantize.checkpoint.json_file import read_json_object


def read_index(index_path: Path) -> dict[str, str]:
    """The weight_map: tensor name → shard, each a file beside the index. Raises CheckpointError."""
    weight_map = read_json_object(index_path).get("weight_map")
    if (
        not isinstance(weight_map, dict)
        or not weight_map
        or not all(isinstance(shard, str) for shard in weight_map.values())
    ):
        raise CheckpointError(f"{index_path.name} has no usable weight_map; download it again")
    for shard in sorted(set(weight_map.values())):
        if Path(shard).name != shard or shard in (".", ".."):
            raise CheckpointError(
                f"{index_path.name} names a shard outside its folder, {shard!r}; it isn't trusted"
            )
        if not (index_path.parent / shard).is_file():
            raise CheckpointError(
                f"{index_path.name} names {shard}, which is missing; download the checkpoint again"
            )
    return weight_map


def check_index(index_path: Path, weight_map: Mapping[str, str], file_of: Mapping[str, str]) -> None:
    """Compare the index with the shards' own headers. `file_of`: tensor name → the file that holds it.

    Raises CheckpointError: tensors in no shard, in another shard than the index says, or not in the index.
    """
    missing = [name for name in weight_map if name not in file_of]
    if missing:
        what = f"names {few(missing)}, in no shard"
    elif unlisted := [name for name in file_of if name not in weight_map]:
        what = f"doesn't name {few(unlisted)} of the shards"
    elif moved := [name for name, shard in weight_map.items() if file_of[name] != shard]:
        what = f"says {moved[0]} is in {weight_map[moved[0]]}, it is in {file_of[moved[0]]}"
    else:
        return
    raise CheckpointError(f"{index_path.name} {what}; download the checkpoint again")


def twice(name: str, first: str, second: str) -> CheckpointError:
    """The error for a tensor that two files hold."""
    return CheckpointError(f"tensor {name} is both in {first} and in {second}; remove the older file")


def few(names: Sequence[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest
