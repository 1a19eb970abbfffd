"""Plans of quantizations: every tensor, its type and its place in every output, before a byte is read."""
