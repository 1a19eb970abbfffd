"""Quantized checkpoints (GPTQ, AWQ, FP8, compressed-tensors), read as floats."""
