"""OpenAI's Responses API: its requests, the answers' items and events, and what is kept of them.

answer.py    `ResponseAnswer`: the response of one request, made of the parts of its answer. Pure.
content.py   The content of items as text: strings, or parts of which each has text. Pure.
database.py  `StateDatabase`: what is kept of responses, conversations and chat completions, in one SQLite
             file.
echo.py      The fields of a response that repeat its request. Pure.
events.py    The events of a streamed response, as the JSON of server-sent events. Pure.
identity.py  Fresh ids of responses, conversations and items, in OpenAI's form: no two are ever the same.
items.py     Items of the Responses API as a chat's messages: `messages_of`. Pure.
output.py    The items of an answer while they are made: reasoning, message and calls. Pure.
read.py      `read_response`: a Responses request as the engine's message, and what its answer must know.
             Pure.
records.py   Records, items, pages and limits: all that a `StateDatabase` takes and returns.
running.py   `RunningResponses`: the responses that are being made, so that they can be asked for and
             cancelled.
schemas.py   Requests of the Responses API as clients send them, typed and checked. Names are the wire's.
source.py    `ResponseSource`: a request's events as its answer's parts, and the keeping of the answer.
store.py     `ResponseStore`: the kept responses, for the event loop; the file is used in a thread of its own.
tools.py     The tools of a Responses request as the model sees them, and back: `ToolTable`. Pure.
"""
