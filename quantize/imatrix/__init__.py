"""Importance matrices: computed from a text, read from files, and looked up by tensor."""
