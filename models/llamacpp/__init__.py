"""The only code that touches llama.cpp's native library: one llama.cpp object per file.

library    loading, version check, log, devices          vocab    text <-> tokens
model      weights and metadata                          sampler  the chain that picks a token
context    KV cache and decoding                         batch    the tokens of one decode
quantizer  type rules and encoding of weights            errors   llama.cpp's failures as CorralError

Importing this package or any of its modules loads no native code; the first call does (`library.load`).
Callers are worker processes, the encoder of `quantize`, and probing children; never the API process,
because a failed assertion in llama.cpp ends the process it runs in.
"""
