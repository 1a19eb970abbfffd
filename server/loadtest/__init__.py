"""A load client for any OpenAI-compatible server, so cheap that both can share a machine.

While a load runs, one thread only receives and notes when which bytes came; they are read after the load has
ended. `corral bench` and bench/ use it; it knows nothing of llama.cpp or of Corral's own server.
"""
