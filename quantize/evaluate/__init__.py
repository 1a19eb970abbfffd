"""The loss of a file: perplexity, KL divergence and agreement with a baseline, size and speed."""
