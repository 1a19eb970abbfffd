"""The parts of a GGUF file that need no tensor: header, general metadata, size label."""
