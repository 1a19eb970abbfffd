"""llama.cpp's account of its build and devices, from a child process.

The child is `python -m models.machine.native_facts`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.machine.child_process import ChildFailed, ChildTimedOut, ask_child, module_command
from models.machine.device import Device

TIMEOUT_S = 60.0
"""The child may take this many seconds; CUDA needs some to start on a box with many GPUs."""


@dataclass(frozen=True)
class NativeFacts:
    """A build of llama.cpp and the devices that it sees."""

    version: str
    """The version of llama-cpp-python."""
    library: str
    """The path of the loaded libllama."""
    features: frozenset[str]
    """The compiled-in CPU features as llama.cpp names them ("AVX2", "AMX_INT8")."""
    devices: tuple[Device, ...]
    sees_images: bool = True
    """False for a build without libmtmd."""


def ask(timeout_s: float = TIMEOUT_S, command: Sequence[str] | None = None) -> NativeFacts | str:
    """Return the facts, or how the child failed ("died of SIGILL"). `command` replaces it."""
    try:
        return ask_child(command or module_command(__name__), timeout_s, _parse)
    except ChildTimedOut as late:
        return f"{late.text} to load"
    except ChildFailed as failure:
        return failure.text


def _parse(answer: Mapping[str, Any]) -> NativeFacts:
    return NativeFacts(
        version=answer["version"],
        library=answer["library"],
        features=parse_features(answer["system_info"]),
        devices=tuple(Device(**device) for device in answer["devices"]),
        sees_images=answer["sees_images"],
    )


def parse_features(system_info: str) -> frozenset[str]:
    """Return {"AVX2", …} for "CPU : AVX2 = 1 | AVX512 = 0 | …"."""
    features = set()
    for part in system_info.replace(" : ", " | ").split("|"):
        name, _, value = part.partition("=")
        if value.strip() == "1":
            features.add(name.strip())
    return frozenset(features)


def main() -> int:
    """Print the facts as one line of JSON, or an error as one line on stderr: the child's work."""
    from models.errors import LlamaCppError
    from models.llamacpp import library, projector
    from models.llamacpp.quantization import quantizer

    try:
        quantizer.check_symbols()
        answer = {
            "version": library.REQUIRED_VERSION,
            "library": library.library_path(),
            "system_info": library.system_info(),
            "devices": [asdict(device) for device in library.devices()],
            "sees_images": projector.is_available(),
        }
    except LlamaCppError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
