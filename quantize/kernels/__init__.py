"""Compiled encoders of our own: the same bytes as ggml, sooner.

compiler.py    The compiler of the kernels: numba on a thread, beside a pass that begins with ggml's encoders.
feedback.py    Kernels that choose levels by what errors of all columns do together. Compiled.
importance.py  Kernels for importance matrices: weights of errors, and a search for blocks' own scales.
               Compiled.
k_quants.py    The encoder of Q4_K, Q5_K and Q6_K rows: ggml's bytes to the last bit, several times as fast.
packing.py     Kernels that pack blocks of Q4_K, Q5_K and Q6_K: numbers become levels, and levels bits.
               Compiled.
search.py      The search for a sub-block's scale (and minimum), many sub-blocks side by side. Compiled.
"""
