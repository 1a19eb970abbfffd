"""GGUF files as data: header, metadata and tensor table, read and checked without llama.cpp."""

from __future__ import annotations
