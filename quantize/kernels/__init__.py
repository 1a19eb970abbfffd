"""Encoders of our own, compiled: the same bytes as ggml, sooner."""
