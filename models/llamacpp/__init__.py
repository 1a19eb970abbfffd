"""The only code that touches llama.cpp's native library: one llama.cpp object per file.

Importing this package or any of its modules loads no native code; the first call does (`library.load`).
Callers are worker processes, the encoder of `quantize`, and probing children; never the API process,
because a failed assertion in llama.cpp ends the process it runs in.
"""
