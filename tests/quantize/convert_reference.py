"""llama.cpp's own converter: `… -m tests.quantize.convert_reference SOURCES DIR TYPES OUT PRE TARGET`.

The independent opinion of the oracle tests; needs torch and transformers, and SOURCES, llama.cpp's source
tree. TYPES are joined by commas, OUT has a `{type}` in it. The converter tells a byte-level pre-tokenizer by
a hash of one text's token ids, which it can't know for a tokenizer made in a test: PRE answers for it, if it
isn't empty. TARGET is the folder of a head's model, if it isn't empty. `--mmproj` behind them converts what
lets the model see. Layers behind the pooling are taken over where a checkpoint has them.
"""

from __future__ import annotations

import importlib
import json
import runpy
import sys
from pathlib import Path
from typing import Any

from tests.quantize.converter_repairs import repair_converter

AS_WRITTEN = (
    "nomic_bert",
    "step3p5",
    "mimo_v2_flash",
)  # transformers 5 gives them other names and other defaults throughout
DROPPED = ("rotary_pct",)
UNDER_OTHER_NAMES = ("kimi_linear", "bailing_hybrid")


def main() -> None:
    sources, checkpoint, types, out, pre, target, *projector = sys.argv[1:]
    sys.path.insert(0, sources)
    base = importlib.import_module("conversion.base")
    _keep_dropped_fields(base)
    repair_converter(Path(checkpoint))
    if pre:
        base.TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
    script = str(Path(sources) / "convert_hf_to_gguf.py")
    gemma = importlib.import_module("conversion.gemma")
    for type_ in types.split(","):
        gemma.EmbeddingGemma.module_paths = []  # each run appends to the list of the class
        sys.argv = [script, checkpoint, "--outtype", type_, "--outfile", out.format(type=type_)]
        sys.argv += ["--target-model-dir", target] if target else []
        sys.argv += [*projector, "--sentence-transformers-dense-modules"]
        written = json.loads((Path(checkpoint) / "config.json").read_text(encoding="utf-8"))
        sys.argv += ["--no-mtp"] if written.get("model_type") == "mimo_v2_flash" else []
        runpy.run_path(script, run_name="__main__")


def _keep_dropped_fields(base: Any) -> None:
    """transformers 5 renames fields of config.json for which the converter still asks."""
    load = base.ModelBase.load_hparams

    def load_hparams(directory: Path, is_mistral_format: bool) -> dict[str, Any]:
        fields: dict[str, Any] = load(directory, is_mistral_format)
        written = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        if written.get("model_type") in (*AS_WRITTEN, *UNDER_OTHER_NAMES):
            return dict(written)
        return fields | {name: written[name] for name in DROPPED if name in written}

    base.ModelBase.load_hparams = staticmethod(load_hparams)


if __name__ == "__main__":
    main()
