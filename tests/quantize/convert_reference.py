"""llama.cpp's own converter: `python -m tests.quantize.convert_reference SOURCES DIR TYPES OUT [PRE]`.

The independent opinion of the oracle tests; needs torch and transformers, and SOURCES, llama.cpp's source
tree. TYPES are joined by commas, OUT has a `{type}` in it. The converter tells a byte-level pre-tokenizer by
a hash of one text's token ids, which it can't know for a tokenizer made in a test: PRE answers for it.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from pathlib import Path


def main() -> None:
    sources, checkpoint, types, out, *pre = sys.argv[1:]
    sys.path.insert(0, sources)
    if pre:
        base = importlib.import_module("conversion.base")
        base.TextModel.get_vocab_base_pre = lambda self, tokenizer: pre[0]
    script = str(Path(sources) / "convert_hf_to_gguf.py")
    for type_ in types.split(","):
        sys.argv = [script, checkpoint, "--outtype", type_, "--outfile", out.format(type=type_)]
        runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
