"""Shared prefixes: the tokens in the KV cache's slots, and those kept outside, found for a new prompt."""
