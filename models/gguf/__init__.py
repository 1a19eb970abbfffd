"""GGUF files as data: header, metadata and tensor table, read and checked without llama.cpp.

adapter_info.py  `read_adapter_info`: a LoRA adapter's GGUF file, read and checked against its base model.
checks.py        Checks for values in a well-formed GGUF file on which llama.cpp would abort or crash. Pure.
info.py          `read_gguf_info`: what a GGUF file holds, or the reason why it must not be loaded.
reader.py        The structure of one GGUF file: header, key-value pairs, tensor table.
"""

from __future__ import annotations
