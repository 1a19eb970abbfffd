"""The samplers, each a step that adds itself to llama.cpp's chain and says what can stand in for it."""

from __future__ import annotations
