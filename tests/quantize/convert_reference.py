"""Runs llama.cpp's own converter on a checkpoint: `python -m tests.quantize.convert_reference SOURCES DIR TYPE OUT [PRE]`.

The independent opinion of the oracle tests; needs torch and transformers, and SOURCES, llama.cpp's source tree. The
converter tells a byte-level pre-tokenizer by a hash of one text's token ids, which it can't know for a tokenizer made
in a test: PRE answers for it.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def main() -> None:
    sources, checkpoint, outtype, out, *pre = sys.argv[1:]
    sys.path.insert(0, sources)
    if pre:
        from conversion import base

        base.TextModel.get_vocab_base_pre = lambda self, tokenizer: pre[0]
    script = str(Path(sources) / "convert_hf_to_gguf.py")
    sys.argv = [script, checkpoint, "--outtype", outtype, "--outfile", out]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
