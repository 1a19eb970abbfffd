"""Vocabularies of GGUF files, from tokenizer files: tokens, merges, special tokens, templates."""
