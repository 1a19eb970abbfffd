"""Tokenizer files → GGUF vocabulary: tokens, merges or scores, special tokens, chat template."""
