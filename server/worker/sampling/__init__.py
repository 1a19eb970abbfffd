"""Sampling: all rows of a step at once, with the tokens that llama.cpp's own chain would give."""

from __future__ import annotations
