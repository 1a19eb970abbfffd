"""Samplers, a file each: when one is active, its part of llama.cpp's chain, and its fast ways."""

from __future__ import annotations
