"""llama.cpp's quantization: type rules, encoding and decoding of tensor rows."""

from __future__ import annotations
