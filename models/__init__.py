"""Models as files: their names, store, download, GGUF metadata, memory, and the llama.cpp layer."""

from __future__ import annotations
