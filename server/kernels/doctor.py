"""The kernels' part of `corral doctor`: they are opened and checked in a child process.

The child is `python -m server.kernels.doctor`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.doctor.check import Check, ok, warning
from models.machine.child_process import ChildFailed, ask_child, module_command

NAME = "kernels"
TIMEOUT_S = 60.0
"""The child may take this many seconds on a machine with much else to do; it needs less than one."""


@dataclass(frozen=True)
class KernelFacts:
    """The outcome of the checks in the child."""

    set_name: str
    types: tuple[str, ...]
    faults: tuple[str, ...]
    losses: tuple[str, ...]
    reason: str
    fix: str
    has_attention: bool = False
    has_gelu: bool = False


def check(command: Sequence[str] | None = None, timeout_s: float = TIMEOUT_S) -> Check:
    """Return the matrix kernels that this machine gets, or the reason for none.

    `command` replaces the child.
    """
    try:
        facts = ask_child(command or module_command(__name__), timeout_s, _parse)
    except ChildFailed as failure:
        return warning(
            NAME,
            f"llama.cpp's own are used: the check of Corral's {failure.text}",
            "compile them with another compiler: CXX=clang++ python3 -m scripts.kernels",
        )
    return judge(facts)


def unchecked() -> Check:
    """Return the result where llama.cpp itself can't be loaded, which has a check of its own."""
    return ok(NAME, "not checked: they need llama.cpp")


def judge(facts: KernelFacts) -> Check:
    """Return the check's result. None for this CPU is no fault."""
    if not facts.types:
        fact = f"llama.cpp's own are used: {facts.reason}"
        return warning(NAME, fact, facts.fix) if facts.fix else ok(NAME, fact)
    fact = f"Corral's for {facts.set_name}, checked against ggml's: {', '.join(facts.types)}"
    fact += ", attention" if facts.has_attention else ""
    fact += ", GELU" if facts.has_gelu else ""
    fact = "; ".join((fact, *facts.faults, *facts.losses))
    return warning(NAME, fact, facts.fix) if facts.faults else ok(NAME, fact)


def _parse(answer: Mapping[str, Any]) -> KernelFacts:
    return KernelFacts(
        set_name=str(answer["set_name"]),
        types=tuple(map(str, answer["types"])),
        has_attention=bool(answer["has_attention"]),
        has_gelu=bool(answer["has_gelu"]),
        faults=tuple(map(str, answer["faults"])),
        losses=tuple(map(str, answer["losses"])),
        reason=str(answer["reason"]),
        fix=str(answer["fix"]),
    )


def main() -> int:
    """Print the facts as one line of JSON, or an error as one line on stderr: the child's work."""
    from models.errors import LlamaCppError
    from models.llamacpp import library
    from server.kernels.front import open_kernels

    try:
        library.load()
        kernels = open_kernels()
    except LlamaCppError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    answer = {
        "set_name": kernels.set_name,
        "types": kernels.type_names,
        "has_attention": kernels.has_attention,
        "has_gelu": kernels.has_gelu,
        "faults": kernels.faults,
        "losses": kernels.losses,
        "reason": kernels.reason,
        "fix": kernels.fix,
    }
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
