"""A load client for any OpenAI-compatible server, so cheap that both can share a machine.

While a load runs, one thread only receives and notes when which bytes came; they are read after the load has
ended. `corral bench` and bench/ use it; it knows nothing of llama.cpp or of Corral's own server.

client.py    `LoadClient`: several requests at once from one thread that only sends, receives and notes times.
events.py    Server-sent events read from the whole body of a response. Pure.
exchange.py  `Exchange`: one request and its response on a non-blocking socket, with the time of each piece.
figures.py   Statistics over the outcomes of a load. Pure.
outcome.py   `Outcome`: a capture that is read: the times at which text came, token counts, the end. Pure.
prompts.py   Prompts of random common words that no server has seen before, and so none can have cached.
response.py  HTTP/1.1 responses read from their bytes, with the place in the bytes of each part of the body.
session.py   `Session`: a series of loads against one server, which is probed first.
target.py    `Target`: the address of a server to load, and the bytes of requests to it.
"""
