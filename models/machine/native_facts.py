"""What llama.cpp says of itself, asked in a child process (`python -m models.machine.native_facts`)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from models.machine.child_process import describe_exit, last_line
from models.machine.hardware import Device

TIMEOUT_S = 60.0


@dataclass(frozen=True)
class NativeFacts:
    """`features`: compiled-in CPU features as llama.cpp names them ("AVX2", "AMX_INT8")."""

    version: str
    library: str
    features: frozenset[str]
    devices: tuple[Device, ...]


def ask(timeout_s: float = TIMEOUT_S, command: Sequence[str] | None = None) -> NativeFacts | str:
    """The facts, or how the child failed ("died of SIGILL"). `command` replaces it."""
    try:
        done = subprocess.run(
            command or [sys.executable, "-m", __name__],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return f"took longer than {timeout_s:g} s to load"
    if done.returncode != 0:
        return describe_exit(done.returncode, done.stderr)
    try:
        answer = json.loads(last_line(done.stdout))
        return NativeFacts(
            version=answer["version"],
            library=answer["library"],
            features=parse_features(answer["system_info"]),
            devices=tuple(Device(**device) for device in answer["devices"]),
        )
    except (ValueError, KeyError, TypeError):
        return f"answered nonsense: {done.stdout[:200]!r}"


def parse_features(system_info: str) -> frozenset[str]:
    """{"AVX2", …} of "CPU : AVX2 = 1 | AVX512 = 0 | …"."""
    features = set()
    for part in system_info.replace(" : ", " | ").split("|"):
        name, _, value = part.partition("=")
        if value.strip() == "1":
            features.add(name.strip())
    return frozenset(features)


def main() -> int:
    from models.errors import LlamaCppError
    from models.llamacpp import library
    from models.llamacpp.quantization import quantizer

    try:
        quantizer.check_symbols()
        answer = {
            "version": library.REQUIRED_VERSION,
            "library": library.library_path(),
            "system_info": library.system_info(),
            "devices": [asdict(device) for device in library.devices()],
        }
    except LlamaCppError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
