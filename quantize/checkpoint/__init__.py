"""Checkpoints on disk or on the Hub: named tensors, whatever their files and their encoding."""
