"""HTTP beneath the routes: keys, bodies, logs, and the stream of an answer to its socket.

access_log.py     Every request's id and its line in the log; never its content. ASGI middleware.
api_keys.py       `ApiKeys`: the ASGI middleware that requires an API key, used only where keys are set.
dependencies.py   `Api`: the settings and models that every endpoint works with, and the way to a request's
                  model.
disconnect.py     `while_connected` and `disconnected`: work for a client ends when the client has gone.
generate.py       `answer`: from `Generate` messages to an HTTP answer, streamed or whole, for chats and
                  completions.
openapi.py        The OpenAPI document's request bodies, which FastAPI doesn't know: endpoints read theirs
                  themselves.
request_body.py   `read`: a request's body, within a limit and whatever its content type says, as a schema.
stream_writer.py  Streamed answers: `EventStream` is the response, `StreamWriter` writes the chunks of each
                  event.
"""
