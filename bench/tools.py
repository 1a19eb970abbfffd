"""`python -m bench.tools`: build llama.cpp's own tools, once, and print their folder. For `make oracle`."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

from bench.__main__ import build_environment
from bench.peers import llama_tools


def main() -> int:
    source = os.environ.get("CORRAL_LLAMA_CPP_SOURCE")
    if not source:
        print("CORRAL_LLAMA_CPP_SOURCE isn't set: use `make oracle`, which sets it", file=sys.stderr)
        return 2
    with redirect_stdout(sys.stderr):
        folder = llama_tools(Path(source), build_environment())
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
