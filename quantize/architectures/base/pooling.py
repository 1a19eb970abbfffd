"""Sentence-transformers' files: how the vectors of a text's tokens become one.

modules.json         [{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling", …}, …]
1_Pooling/config.json {"pooling_mode_mean_tokens": true, …}
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, Final

from models.errors import CheckpointError
from quantize.checkpoint.json_file import parse_json, read_bounded, read_json_object

# llama.cpp's numbers (llama.h, enum llama_pooling_type)
MEAN: Final = 1
CLS: Final = 2
LAST: Final = 3
FLAGS: Final = {
    "pooling_mode_mean_tokens": MEAN,
    "pooling_mode_cls_token": CLS,
    "pooling_mode_lasttoken": LAST,
}
MODES: Final = {"mean": MEAN, "cls": CLS, "lasttoken": LAST}
LIMIT_BYTES: Final = 2**20


def pooling_type(directory: Path) -> int | None:
    """What the folder's files say; None without such files. Raises CheckpointError: an unknown pooling."""
    path = _pooling_path(directory)
    if path is None:
        return None
    settings = read_json_object(directory / path / "config.json")
    for flag, number in FLAGS.items():
        if settings.get(flag) is True:
            return number
    mode = settings.get("pooling_mode")
    if mode in MODES:
        return MODES[mode]
    raise CheckpointError(
        f"{path}/config.json asks for a pooling that llama.cpp doesn't have; it has mean, cls and lasttoken"
    )


def _pooling_path(directory: Path) -> str | None:
    if not (directory / "modules.json").is_file():
        return None
    modules = parse_json(read_bounded(directory / "modules.json", LIMIT_BYTES), "modules.json")
    for module in modules if isinstance(modules, list) else []:
        if isinstance(module, dict) and str(module.get("type")).endswith("Pooling"):
            return _inside(module.get("path"))
    return None


def _inside(path: Any) -> str:
    parts = PurePosixPath(path).parts if isinstance(path, str) else ()
    if not parts or ".." in parts or parts[0] == "/":
        raise CheckpointError(f"modules.json names the folder {path!r}, outside its own; it isn't trusted")
    return str(path)
