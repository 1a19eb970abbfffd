"""llama.cpp's converter, run in a process of its own: what the oracle tests compare with.

Needs torch and transformers (`make oracle`) and CORRAL_LLAMA_CPP_SOURCE, llama.cpp's source tree as in the
sdist of llama-cpp-python.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.quantize.summary import summary

SOURCES = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")


def convert(
    directory: Path,
    out_dir: Path,
    pre: str | None,
    wanted: Sequence[str],
    *,
    projector: bool = False,
    target: Path | None = None,
) -> dict[str, Any]:
    """The summaries of the converter's files, by type; they are `<out_dir>/converted.<type>.gguf`.

    With `projector`, they are those of what lets the model see. `target`: the folder of a head's model.
    """
    assert SOURCES is not None
    types = ",".join(type_.lower() for type_ in wanted)
    out = str(out_dir / "converted.{type}.gguf")
    command = [sys.executable, "-m", "tests.quantize.convert_reference", SOURCES, str(directory), types, out]
    command += [pre or "", "" if target is None else str(target)]
    if projector:
        command.append("--mmproj")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {type_: summary(out_dir / f"converted.{type_.lower()}.gguf") for type_ in wanted}
