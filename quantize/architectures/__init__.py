"""The model families, one file each: hyper-parameters to GGUF keys, tensor names and transforms."""
