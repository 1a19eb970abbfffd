"""`Kernels`: the kernels of this process after all checks, or the reason why there are none."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import LlamaCppError
from models.llamacpp.kernel_library import KernelLibrary, default_path
from models.llamacpp.quantization.ggml_types import type_name
from models.machine.kernel_file import FILE_NAME
from server.kernels import timing
from server.kernels.abi import mismatch
from server.kernels.attention_check import find_attention_fault
from server.kernels.check import describe_fault, find_fault
from server.kernels.gelu_check import find_gelu_fault
from server.kernels.outlook import LIBRARY_VARIABLE, SET_VARIABLE
from server.kernels.timing import AMX_SET

BUILD_FIX = "run `make setup`, or `python3 -m scripts.kernels`, which says why if it can't be built"
COMPILER_FIX = "compile them with another compiler: CXX=clang++ python3 -m scripts.kernels"

FaultFinder = Callable[[KernelLibrary, int], str | None]
"""It says of a type what speaks against the kernels of the chosen set, None if nothing does."""


@dataclass(frozen=True)
class Kernels:
    """The outcome of the checks. Weights of `types` may be loaded into panels from now on."""

    library: KernelLibrary | None = None
    """None: there are no kernels to use, for `reason`."""
    set_name: str = ""
    """The instruction set in use."""
    types: tuple[int, ...] = ()
    """ggml's numbers of the types whose kernels passed."""
    has_attention: bool = False
    """Attention is computed by ours, too."""
    has_gelu: bool = False
    """And GELU."""
    faults: tuple[str, ...] = ()
    """Lines about the types whose kernels failed."""
    losses: tuple[str, ...] = ()
    """Lines about the types for which ggml's own kernels are faster here."""
    reason: str = ""
    """The fact because of which there are none."""
    fix: str = ""
    """The remedy, if there is one and something is wrong."""

    @property
    def type_names(self) -> tuple[str, ...]:
        """The types with kernels, sorted by name."""
        return tuple(sorted(type_name(one) for one in self.types))


def open_kernels(
    env: Mapping[str, str] = os.environ,
    find_fault: FaultFinder = find_fault,
    find_loss: FaultFinder | None = None,
) -> Kernels:
    """Open the library, hold it against what is loaded, choose a set, check each type and offer what passed.

    Any doubt about them means llama.cpp's own kernels, and a reason. Takes a tenth of a second. On processors
    with AMX types for which ggml's kernels are faster are left to it, which takes as long for each.
    `find_loss` replaces that timing, and is asked everywhere. Raises LlamaCppError only where llama.cpp
    itself can't be loaded.
    """
    named = env.get(LIBRARY_VARIABLE, "").strip()
    path = Path(named) if named else default_path()
    fix = BUILD_FIX
    if named:
        fix = f"unset {LIBRARY_VARIABLE}, or run `python3 -m scripts.kernels --out {path}`"
    if platform.system() != "Linux":
        return Kernels(reason=f"Corral's are built on Linux, and this is {platform.system()}")
    if not path.is_file():
        fix = f"unset {LIBRARY_VARIABLE}, or name the file that is meant" if named else BUILD_FIX
        return Kernels(reason=f"{FILE_NAME} isn't there ({path})", fix=fix)
    try:
        library = KernelLibrary(path)
    except LlamaCppError as error:
        return Kernels(reason=error.message, fix=fix)
    difference = mismatch(library)
    if difference is not None:
        return Kernels(reason=f"{path} is of another build: {difference}", fix=fix)
    wanted = env.get(SET_VARIABLE, "").strip()
    present = [name for name in library.sets() if library.choose(name) is not None]
    chosen = library.choose(wanted or None)
    if chosen is None and wanted:
        return _none_of_that_name(wanted, library.sets(), present)
    if chosen is None:
        return Kernels(reason=why_none_is_chosen(library.sets(), present))
    if find_loss is None and AMX_SET in present and not wanted:
        find_loss = timing.find_loss
    return _checked(library, chosen, find_fault, find_loss)


def _none_of_that_name(wanted: str, sets: Sequence[str], present: Sequence[str]) -> Kernels:
    named = f"the instruction set '{wanted}' ({SET_VARIABLE})"
    reason = f"{named} isn't in this CPU" if wanted in sets else f"{named} isn't one of {', '.join(sets)}"
    others = f", or name one that this CPU has: {', '.join(present)}" if present else ""
    return Kernels(reason=reason, fix=f"unset {SET_VARIABLE}{others}")


def why_none_is_chosen(sets: Sequence[str], present: Sequence[str]) -> str:
    """Return why none of the library's `sets` is used by itself. The CPU has those that are `present`."""
    if present:
        emulated = f"Corral's for this CPU ({', '.join(present)}) have only run in emulation yet"
        return f"{emulated}; {SET_VARIABLE}={present[0]} tries them"
    return f"this CPU has no instruction set that Corral's are written for ({', '.join(sets) or 'none'})"


def _checked(
    library: KernelLibrary, set_name: str, find_fault: FaultFinder, find_loss: FaultFinder | None
) -> Kernels:
    library.insert()  # the check goes through ggml, which asks what is inserted
    types, faults, losses = [], [], []
    for one in filter(library.has_kernels, library.formats()):
        library.use(one, is_used=True)
        fault = find_fault(library, one)
        loss = find_loss(library, one) if fault is None and find_loss is not None else None
        library.use(one, is_used=fault is None and loss is None)
        if fault is not None:
            faults.append(describe_fault(one, fault))
        elif loss is not None:
            losses.append(describe_fault(one, loss))
        else:
            types.append(one)
    attention_fault = find_attention_fault(library) if library.has_attention() else None
    gelu_fault = find_gelu_fault(library) if library.has_gelu() else None
    for name, operation_fault in (("attention", attention_fault), ("GELU", gelu_fault)):
        if operation_fault is not None:
            faults.append(f"{name} is left to llama.cpp: {operation_fault}")
    fix = COMPILER_FIX if faults else ""
    if not types:
        reason = "; ".join((*faults, *losses)) or f"the instruction set {set_name} has none"
        return Kernels(reason=reason, fix=fix)
    kernels = Kernels(
        library=library,
        set_name=set_name,
        types=tuple(types),
        has_attention=library.has_attention() and attention_fault is None,
        has_gelu=library.has_gelu() and gelu_fault is None,
        faults=tuple(faults),
        losses=tuple(losses),
        fix=fix,
    )
    _take(kernels, is_used=True)
    return kernels


_lock = threading.Lock()
_opened: list[Kernels] = []  # none or one


def kernels_of_process() -> Kernels:
    """Return what `open_kernels` gave at the first call in this process. Thread-safe."""
    with _lock:
        if not _opened:
            _opened.append(open_kernels())
        return _opened[0]


def leave_to_llama_cpp() -> None:
    """Load no more weights into panels, if this process ever did, and leave attention and GELU."""
    with _lock:
        for kernels in _opened:
            _take(kernels, is_used=False)


def take_again(kernels: Kernels) -> None:
    """Load weights into panels again, and take attention and GELU."""
    _take(kernels, is_used=True)


def _take(kernels: Kernels, *, is_used: bool) -> None:
    if kernels.library is not None:
        for one in kernels.types:
            kernels.library.use(one, is_used=is_used)
        kernels.library.use_attention(is_used=is_used and kernels.has_attention)
        kernels.library.use_gelu(is_used=is_used and kernels.has_gelu)
