"""llama.cpp's quantization: type rules, encoding and decoding of tensor rows.

dequantizer.py  ggml's own decoding of tensor rows to f32: the same numbers that llama.cpp quantizes from.
ggml_types.py   Numbers and sizes of the quantization types as llama.cpp's functions take them; no native
                code.
quantizer.py    llama.cpp's quantization: float rows encoded as ggml blocks.
type_rules.py   llama.cpp's rules for the ggml type of each tensor of a quantized file.
"""

from __future__ import annotations
