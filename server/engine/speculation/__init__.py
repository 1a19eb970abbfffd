"""Speculative decoding: proposers of drafts, the length that pays, the measured cost of a step."""
