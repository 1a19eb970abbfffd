"""PEFT adapters: their configuration, and their conversion to GGUF adapters."""
