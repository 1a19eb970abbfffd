"""`corral cluster share`: this machine computes layers of models that are served elsewhere.

messages.py  The messages between `corral cluster share` and the process of it that loads llama.cpp.
process.py   The process of `corral cluster share` that serves this machine's devices: `python -m … JSON`.
share.py     `Share`: serves this machine's devices to a Corral elsewhere, by a process that it starts again.
"""
