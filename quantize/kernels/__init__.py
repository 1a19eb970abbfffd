"""Compiled encoders of our own: the same bytes as ggml, sooner."""
