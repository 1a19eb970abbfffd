"""llama.cpp's own server tests, run against Corral beside llama-server, with stand-ins for their models."""
