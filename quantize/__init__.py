"""Making GGUF files: checkpoints are read, mapped, planned, encoded, written, checked and measured."""
