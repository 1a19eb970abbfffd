"""What a file lost: perplexity, KL divergence and agreement against a baseline, size and speed."""
