"""The embedded demo model: a small Llama in Hugging Face layout (fp16), with the code that trained it.

The reference `demo` stands for this folder. Importing this package loads nothing.

training/  The making of the demo model: corpus, tokenizer, training and evaluation; see README.md here.
"""

from __future__ import annotations

from pathlib import Path

DEMO_DIR = Path(__file__).parent
CHECKPOINT_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
