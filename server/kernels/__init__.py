"""Matrix kernels of our own, which ggml's CPU backend calls as one more place for weights."""
