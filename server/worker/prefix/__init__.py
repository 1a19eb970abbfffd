"""Prefixes kept on disk over restarts: files, their index in memory, and which of them fit a model."""
