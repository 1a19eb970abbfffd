"""Malicious pickles run nothing. Each would leave a marker file behind if Python's own pickle read it."""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest

from models.errors import CheckpointError
from quantize.checkpoint.torch import unpickle
from quantize.checkpoint.torch.source import TorchSource
from quantize.checkpoint.torch.unpickle import read_pickle
from tests.quantize.checkpoint.torch_files import (
    EMPTY_DICT,
    EMPTY_TUPLE,
    MARK,
    REDUCE,
    SET_ITEMS,
    View,
    name,
    number,
    pickled,
    storage,
    tensor,
    text,
    tuple_of,
    write_legacy,
    write_zip,
)

MARKER = "@MARKER@"
"""The placeholder of a path of the same length in bytes, see `attack`."""
SYSTEM = name("os", "system")
COMMAND = f"touch {MARKER}"
TOUCH = f"__import__('pathlib').Path({MARKER!r}).touch()"
GOOD = tensor(storage("0", "FloatStorage", 1), View("0", (1,), (1,)))


def evil_call() -> bytes:
    return SYSTEM + tuple_of(text(COMMAND)) + REDUCE


ATTACKS: dict[str, bytes] = {
    "reduce": evil_call(),
    "reduce beside a good tensor": EMPTY_DICT + MARK + text("w") + GOOD + text("x") + evil_call() + SET_ITEMS,
    "eval": name("builtins", "eval") + tuple_of(text(TOUCH)) + REDUCE,
    "python 2's name": name("__builtin__", "eval") + tuple_of(text(TOUCH)) + REDUCE,
    "stacked global": text("os") + text("system") + b"\x93" + tuple_of(text(COMMAND)) + REDUCE,
    "instance": MARK + text(COMMAND) + b"ios\nsystem\n",
    "object": MARK + SYSTEM + text(COMMAND) + b"o",
    "new object": SYSTEM + tuple_of(text(COMMAND)) + b"\x81",
    "new object with names": SYSTEM + tuple_of(text(COMMAND)) + EMPTY_DICT + b"\x92",
    "memo": SYSTEM + b"q\x00" + b"0" + b"h\x00" + tuple_of(text(COMMAND)) + REDUCE,
    "persistent text": b"P" + COMMAND.encode() + b"\n" + evil_call(),
    "extension": b"\x82\x01" + tuple_of(text(COMMAND)) + REDUCE,
    "a name like torch's": name("torch", "os.system") + tuple_of(text(COMMAND)) + REDUCE,
    "through torch": name("torch._utils", "os.system") + tuple_of(text(COMMAND)) + REDUCE,
    "torch.serialization": text("torch.serialization")
    + text("os.system")
    + b"\x93"
    + tuple_of(text(COMMAND))
    + REDUCE,
    "torch.load": name("torch", "load") + tuple_of(text(MARKER)) + REDUCE,
    "a storage called": name("torch", "FloatStorage") + tuple_of(text(COMMAND)) + REDUCE,
    "as arguments of a tensor": name("torch._utils", "_rebuild_tensor_v2")
    + tuple_of(evil_call(), number(0), EMPTY_TUPLE, EMPTY_TUPLE, b"\x89", b"N")
    + REDUCE,
    "as arguments of an OrderedDict": name("collections", "OrderedDict") + tuple_of(evil_call()) + REDUCE,
    "build of an object": name("collections", "OrderedDict")
    + EMPTY_DICT
    + MARK
    + text("__reduce__")
    + SYSTEM
    + SET_ITEMS
    + b"b",
    "build of a tensor": GOOD + EMPTY_DICT + MARK + text("__class__") + SYSTEM + SET_ITEMS + b"b",
    "getattr": name("builtins", "getattr") + tuple_of(name("os", "path"), text("os")) + REDUCE,
    "rebuild v3": name("torch._utils", "_rebuild_tensor_v3") + EMPTY_TUPLE + REDUCE,
    "numpy": name("numpy._core.multiarray", "_reconstruct") + EMPTY_TUPLE + REDUCE,
    "storage of another class": tuple_of(text("storage"), SYSTEM, text("0"), text("cpu"), number(1)) + b"Q",
    "persistent of something else": tuple_of(text("module"), text(COMMAND)) + b"Q",
}


def attack(body: bytes, marker: Path) -> bytes:
    """Return the pickle with the marker's path in it: lengths of texts are those of the final ones."""
    path = str(marker)
    assert len(path) < 250
    for old in (COMMAND, TOUCH, MARKER):
        body = body.replace(text(old), text(old.replace(MARKER, path)))
    return pickled(body.replace(MARKER.encode(), path.encode()))


@pytest.mark.parametrize("container", ["zip", "legacy"])
@pytest.mark.parametrize("key", ATTACKS)
def test_nothing_is_run(key: str, container: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    malicious = attack(ATTACKS[key], marker)
    path = tmp_path / "x.bin"
    if container == "zip":
        write_zip(path, malicious, {"0": bytes(4)})
    else:
        write_legacy(path, malicious, {})
    with pytest.raises(CheckpointError, match=r"x\.bin"):
        TorchSource([path])
    assert not marker.exists()


@pytest.mark.parametrize("key", ["reduce", "eval", "stacked global", "instance", "object", "memo"])
def test_the_attacks_are_real(key: str, tmp_path: Path) -> None:
    """Python's own pickle does run them: the tests above can fail."""
    marker = tmp_path / "marker"
    pickle.loads(attack(ATTACKS[key], marker))  # noqa: S301
    assert marker.exists()


def read(body: bytes) -> Any:
    return read_pickle(io.BytesIO(pickled(body)), "the pickle")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (SYSTEM, "names os.system"),
        (name("torch", "nn.Linear"), "names torch.nn.Linear"),
        (name("torch.nn.modules.linear", "Linear"), "names torch.nn.modules.linear.Linear"),
        (name("collections", "Counter"), "names collections.Counter"),
        (MARK + b"ios\nsystem\n", "the operation INST"),
        (b"\x82\x01", "the operation EXT1"),
        (b"\x96" + bytes(8), "the operation BYTEARRAY8"),
        (b"I01\n", "the operation INT"),
        (b"h\x07", "recalls what it never kept"),
        (b"t", "takes values where there are none"),
        (b"R", "takes a value where there is none"),
        (MARK, "leaves no single value"),
        (b"K\x01K\x02", "leaves no single value"),
        (b"", "leaves no single value"),
        (b"K\x01" + MARK + b"K\x01e", "no list"),
        (b"]" + MARK + b"K\x01K\x01u", "no dict"),
        (EMPTY_DICT + MARK + b"K\x01u", "no dict"),
        (EMPTY_DICT + MARK + EMPTY_TUPLE + b"K\x01u", "a tuple as a dict's key"),
        (b"K\x01" + EMPTY_DICT + b"b", "no state dict"),
        (b"K\x01" + EMPTY_TUPLE + REDUCE, "calls a int"),
        (b"K\x01K\x01" + REDUCE, "without arguments"),
        (number(1) + b"Q", "no storage"),
        (
            tuple_of(text("storage"), name("torch", "float16"), text("0"), text("cpu"), number(1)) + b"Q",
            "float16",
        ),
        (storage("0", "FloatStorage", -1), "usable key or size"),
        (storage("0", "FloatStorage", 1, number(1)), "usable key or size"),
        (b"\xff", "damaged"),
        (b"\x8e" + struct.pack("<Q", 2**62) + b"x", "damaged"),
        (b"X" + struct.pack("<I", 2**31) + b"x", "damaged"),
        (b"X\x01\x00\x00\x00\xff", "damaged"),
        (b"c" + b"x" * 70000, "names xxxx"),
    ],
)
def test_what_no_tensor_needs(body: bytes, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason) as caught:
        read(body)
    assert str(caught.value).startswith("the pickle ")


def test_nesting_is_not_followed() -> None:
    """Depth costs nothing: not in reading, not in throwing away."""
    deep = read(b"]" * 1 + b"\x85" * 300_000)
    assert isinstance(deep, tuple)
    with pytest.raises(CheckpointError, match="as a dict's key"):
        read(EMPTY_DICT + MARK + b")" + b"\x85" * 300_000 + b"K\x01u")


def test_a_list_in_itself() -> None:
    value = read(b"]q\x00h\x00a")
    assert value[0] is value


def test_operations_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpickle, "MAX_OPERATIONS", 100)
    with pytest.raises(CheckpointError, match="more than 100 operations"):
        read(b"N0" * 60 + b"N")


def test_plain_values() -> None:
    body = EMPTY_DICT + MARK + text("a") + number(3) + text("b") + name("torch", "float16") + SET_ITEMS
    value = read(body)
    assert value["a"] == 3
    assert "torch" in value["b"].name
