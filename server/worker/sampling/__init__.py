"""Choosing tokens: all rows of a step at once, with the tokens llama.cpp's own chain would choose."""

from __future__ import annotations
