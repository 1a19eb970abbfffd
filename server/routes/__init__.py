"""HTTP endpoints, one file per group, and what they stand on: bodies, keys, request ids, event streams."""
