"""A load client for any OpenAI-compatible server, so cheap that both can share a machine.

While a load runs, one thread only receives: it notes when which bytes came (`client`, `exchange`). What the
bytes say is read after the load has ended (`response`, `events`, `outcome`), and `figures` makes statistics
of it. Used by `corral bench` and by bench/; knows nothing of llama.cpp or of Corral's own server.
"""
