"""A reader of torch files' pickles: a small machine that makes tensors' descriptions and no more.

A pickle is a program, and Python's own machine calls what it names. This one knows the operations of saved
tensors and nothing that could be called: a name that isn't in `objects.GLOBALS` is an error before
anything happens, and what stands for "rebuild a tensor" only checks numbers and makes a `PickledTensor`. No
module is imported, no attribute set, no memory used beyond what the pickle's own bytes justify.

    torch._utils _rebuild_tensor_v2  (('storage', FloatStorage, '0', 'cpu', 12) PERSID  0  (3, 4)  …) REDUCE
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import IO, Any, Final, Protocol, cast

from models.errors import CheckpointError
from quantize.checkpoint.torch.objects import (
    GLOBALS,
    ORDERED_DICT,
    REBUILD_PARAMETER,
    REBUILD_TENSOR,
    Global,
    NotATensor,
    PickledTensor,
    storage_of,
    tensor_of,
)

MAX_OPERATIONS: Final = 5_000_000
"""A pickle may have at most this many operations."""


class _Mark:
    pass


class Stream(Protocol):
    """A position in a file, from which pickles are read."""

    def read(self, n_bytes: int, /) -> bytes: ...

    def readline(self) -> bytes: ...


def read_pickle(stream: Stream, where: str) -> Any:
    """Return the value of the pickle that begins here: plain values, lists, dicts, PickledTensor …

    Raises CheckpointError, whose text begins with `where`, for anything that isn't one of these or of
    `GLOBALS`.
    """
    return _Machine(where).run(stream)


class _Machine:
    """One pickle's stack and memo."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, stream: Stream) -> Any:
        count = 0
        try:
            while (opcode := _OPCODES[stream.read(1)]).name != "STOP":
                count += 1
                if count > MAX_OPERATIONS:
                    raise self._error(f"has more than {MAX_OPERATIONS:,} operations, too many for weights")
                self._execute(opcode, stream)
        except KeyError as error:
            raise self._error("is damaged (it ends early, or has an unknown operation)") from error
        except NotATensor as error:
            raise self._error(str(error)) from error
        except (ValueError, OverflowError) as error:
            raise self._error(f"is damaged ({str(error)[:100]})") from error
        if len(self._stack) != 1 or isinstance(self._stack[0], _Mark):
            raise self._error("is damaged (it leaves no single value)")
        return self._stack[0]

    def _execute(self, opcode: pickletools.OpcodeInfo, stream: Stream) -> None:
        name = opcode.name
        if name not in _KNOWN:
            raise self._error(f"uses the operation {name}, which no tensor needs; nothing of it was run")
        argument: Any = None
        if name == "GLOBAL":
            argument = tuple(stream.readline().decode("ascii").removesuffix("\n") for _ in range(2))
        elif opcode.arg is not None:
            argument = opcode.arg.reader(cast("IO[bytes]", stream))
        if name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            self._stack.append(argument)
        elif name in _STORES:
            self._memo[len(self._memo) if name == "MEMOIZE" else argument] = self._top()
        elif name in _FETCHES:
            if argument not in self._memo:
                raise self._error("is damaged (it recalls what it never kept)")
            self._stack.append(self._memo[argument])
        elif name in _OPERATIONS:
            _OPERATIONS[name](self, argument)

    # --- the stack

    def _top(self) -> Any:
        if not self._stack or isinstance(self._stack[-1], _Mark):
            raise self._error("is damaged (it takes a value where there is none)")
        return self._stack[-1]

    def _pop(self) -> Any:
        value = self._top()
        self._stack.pop()
        return value

    def _pop_to_mark(self) -> list[Any]:
        for at in range(len(self._stack) - 1, -1, -1):
            if isinstance(self._stack[at], _Mark):
                values = self._stack[at + 1 :]
                del self._stack[at:]
                return values
        raise self._error("is damaged (it takes values where there are none)")

    def _error(self, reason: str) -> CheckpointError:
        return CheckpointError(f"{self._where} {reason}; use a checkpoint in safetensors")

    # --- operations; `argument` is the opcode's own

    def mark(self, _argument: Any) -> None:
        self._stack.append(_Mark())

    def empty_list(self, _argument: Any) -> None:
        self._stack.append([])

    def empty_dict(self, _argument: Any) -> None:
        self._stack.append({})

    def make_tuple(self, _argument: Any) -> None:
        self._stack.append(tuple(self._pop_to_mark()))

    def tuple_1(self, _argument: Any) -> None:
        self._stack.append((self._pop(),))

    def tuple_2(self, _argument: Any) -> None:
        last = self._pop()
        self._stack.append((self._pop(), last))

    def tuple_3(self, _argument: Any) -> None:
        last, middle = self._pop(), self._pop()
        self._stack.append((self._pop(), middle, last))

    def append(self, _argument: Any) -> None:
        self._extend([self._pop()])

    def appends(self, _argument: Any) -> None:
        self._extend(self._pop_to_mark())

    def set_item(self, _argument: Any) -> None:
        value = self._pop()
        self._update([self._pop(), value])

    def set_items(self, _argument: Any) -> None:
        self._update(self._pop_to_mark())

    def discard(self, _argument: Any) -> None:
        self._pop()

    def find_global(self, argument: tuple[str, str]) -> None:
        self._push_global(*argument)

    def find_stacked_global(self, _argument: Any) -> None:
        name = self._pop()
        self._push_global(self._pop(), name)

    def load_persistent(self, _argument: Any) -> None:
        self._stack.append(storage_of(self._pop()))

    def reduce(self, _argument: Any) -> None:
        """Apply one of three names that are known here, none of which is a function."""
        arguments, function = self._pop(), self._pop()
        if not isinstance(arguments, tuple):
            raise self._error("is damaged (a call without arguments)")
        if function is ORDERED_DICT and not arguments:
            self._stack.append({})
        elif function is REBUILD_TENSOR:
            self._stack.append(tensor_of(arguments))
        elif function is REBUILD_PARAMETER and arguments and isinstance(arguments[0], PickledTensor):
            self._stack.append(arguments[0])
        else:
            what = function.name if isinstance(function, Global) else f"a {type(function).__name__}"
            raise self._error(f"calls {what}, which makes no tensor here")

    def build(self, _argument: Any) -> None:
        """Skip a state dict's attributes (its `_metadata`), which say nothing about weights; else raise."""
        state = self._pop()
        if not (isinstance(self._top(), dict) and isinstance(state, dict)):
            raise self._error("sets attributes of something that is no state dict; nothing was set")

    # --- results

    def _extend(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise self._error("is damaged (it appends to what is no list)")
        target.extend(values)

    def _update(self, items: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict) or len(items) % 2:
            raise self._error("is damaged (it sets items of what is no dict)")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Only what hashes without looking inside: a tuple in a tuple in a tuple … would not.
            if not isinstance(key, str | int | float | bytes | None):
                raise self._error(f"has a {type(key).__name__} as a dict's key")
            target[key] = value

    def _push_global(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise self._error("is damaged (a name that is no text)")
        known = GLOBALS.get((module, name))
        if known is None:
            shown = ascii(f"{module}.{name}"[:160])[1:-1]
            raise self._error(f"names {shown}, which is no part of a tensor; nothing of it was run")
        self._stack.append(known)


_CONSTANTS: Final[Mapping[str, Any]] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS: Final = frozenset(
    (
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "LONG4",
        "BINFLOAT",
        "SHORT_BINUNICODE",
        "BINUNICODE",
        "BINUNICODE8",
        "BINSTRING",
        "SHORT_BINSTRING",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
    )
)
_STORES: Final = frozenset(("BINPUT", "LONG_BINPUT", "MEMOIZE"))
_FETCHES: Final = frozenset(("BINGET", "LONG_BINGET"))
_OPERATIONS: Final[Mapping[str, Callable[[_Machine, Any], None]]] = {
    "MARK": _Machine.mark,
    "EMPTY_LIST": _Machine.empty_list,
    "EMPTY_DICT": _Machine.empty_dict,
    "TUPLE": _Machine.make_tuple,
    "TUPLE1": _Machine.tuple_1,
    "TUPLE2": _Machine.tuple_2,
    "TUPLE3": _Machine.tuple_3,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "POP": _Machine.discard,
    "GLOBAL": _Machine.find_global,
    "STACK_GLOBAL": _Machine.find_stacked_global,
    "BINPERSID": _Machine.load_persistent,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}
_KNOWN: Final = frozenset(("PROTO", "FRAME", *_CONSTANTS, *_LITERALS, *_STORES, *_FETCHES, *_OPERATIONS))
_OPCODES: Final = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
