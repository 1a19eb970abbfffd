"""Prefixes kept on disk over restarts: files, their index in memory, and which of them fit a model.

file.py   One kept prefix as a file: tokens and the KV cache's state after them, each with a checksum.
index.py  `PrefixIndex`: finds among the kept prefixes the one that gives most of a prompt.
key.py    Keys of kept prefixes: of a model's weights, KV cache and llama.cpp, and of a set of LoRA adapters.
open.py   The kept prefixes of a served model: opened while it is loaded, filled when the worker ends.
store.py  `PrefixStore`: prefixes kept on disk over restarts, read and written in the background.
"""
