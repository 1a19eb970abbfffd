"""One file per model family: hyper-parameters to GGUF keys, tensor names and transforms."""
