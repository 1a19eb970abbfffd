"""HTTP beneath the routes: keys, bodies, logs, and the stream of an answer to its socket.

access_log.py          Every request's id and its line in the log; never its content. ASGI middleware.
api_keys.py            `ApiKeys`: the ASGI middleware that finds out who calls, and what of it the caller may
                       have.
body_processes.py      `BodyProcesses`: the parent's side of the processes that read large bodies.
body_shape.py          `shape_of`: a body without what it says: names of fields, numbers, lengths of texts.
                       Pure.
cased_names.py         `with_case`: headers are sent with their names as they are written.
connection.py          `HttpConnection`: uvicorn's HTTP protocol, where each wait for a client has an end.
dependencies.py        `Api`: the settings and models that every endpoint works with, and the way to a
                       request's model.
direct_routes.py       `DirectRoutes`: requests of fixed paths go to their endpoints without a search.
disconnect.py          `while_connected` and `disconnected`: work for a client ends when the client has gone.
drain.py               `Drain`: the word for monitors, at `/ready`, that this server is about to close its
                       listener.
error_response.py      `error_response`: an error as the response that every route and every middleware
                       answers with.
foreign_pages.py       `ForeignPages`: keeps web pages of others from using a server without API keys. ASGI
                       middleware.
generate.py            `answer`: from a request to its HTTP answer, streamed or whole, for chats and
                       completions.
head_requests.py       `HeadRequests`: HEAD is answered wherever GET is, with the same headers. ASGI
                       middleware.
hosted.py              `answer_hosted`: a request of `/invocations` as one of another route, or several, and
                       their answers.
hosts.py               Names in `Host` and `Origin` headers, and those that a server without API keys answers
                       to. Pure.
inference_protocol.py  `answer_texts`: from a request of the Open Inference Protocol to its HTTP answer.
inspector.py           `Inspector`: the ASGI middleware that keeps the latest requests, to see what a client
                       sends.
live_requests.py       `LiveRequests`: the requests that are being answered, so that they can be looked at and
                       cancelled.
native.py              `native_answer`: from a request of `/completion` or `/infill` to its HTTP answer,
                       streamed or whole.
native_preflights.py   `NativePreflights`: CORS as llama-server does it, for its dialect. ASGI middleware.
ollama.py              `ollama_answer` and `ollama_vectors`: from a request of Ollama's clients to its HTTP
                       answer.
open_files.py          `connection_limit`: the number of connections that this process has files for.
openapi.py             The OpenAPI document's request bodies and keys, which FastAPI doesn't know: we read
                       both ourselves.
origins.py             `AllowedOrigins`: the web origins of `--cors-origin`. Pure.
pages.py               `list_of`: a part of a long list in OpenAI's form, by `after`, `limit` and `order`.
                       Pure.
parts.py               `AppParts`: what an application works with beside its settings and models.
pieces.py              `JsonPieces`: an answer that is there in pieces, sent as they are with others served in
                       between.
pool.py                `answer_pooled`: from a request for vectors or scores to its HTTP answer.
preflights.py          `Preflights`: CORS as Starlette does it, with refusals in OpenAI's form. ASGI
                       middleware.
rate_headers.py        The headers that tell a limited key what it has left, in OpenAI's or Anthropic's form.
                       Pure.
refusals.py            Refusals: the errors that only HTTP has: of keys, heads, hosts, routes and connections.
                       Pure.
request_body.py        `read` and `read_small`: a request's body, within its limits and whatever its content
                       type says.
request_head.py        `RequestHeads`: the ASGI middleware that refuses requests whose head no route could
                       serve.
respond.py             `respond`: from a request for a response to its HTTP answer, streamed or whole, kept on
                       the way.
route_access.py        `RouteAccess`: the right that a request needs, by the application's own routes.
route_scopes.py        `ROUTE_SCOPES`: the right that each route of the application asks of an API key.
stream_writer.py       Streamed answers: `EventStream` is the response, `StreamWriter` writes the chunks of
                       each event.
telemetry.py           `telemetry_of`: the spans that FastAPI makes of HTTP requests, where their work is
                       traced.
unframed.py            `unframed`: answers of unknown length to HTTP/1.0 clients end with the connection,
                       without chunks.
"""
