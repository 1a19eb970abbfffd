"""Continuous batching in pure Python: no HTTP, no ctypes. `engine.Engine` is the way in."""
