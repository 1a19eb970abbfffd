"""llama-server's own API: `/completion`, `/infill`, `/props` and `/slots`, in its fields and forms.

answer.py         `NativeAnswer`: an answer of `/completion` or `/infill`, streamed or whole. Pure.
errors.py         Errors in llama-server's form: its types, and the numbers of a full context. Pure.
schemas.py        Requests of `/completion` and `/infill`, typed and checked; field names are the wire's.
settings.py       `generation_settings`: the object in which llama-server tells a request's parameters. Pure.
single_tokens.py  `single_tokens`: an event with several tokens as one event for each, as llama-server
                  streams.
to_engine.py      llama-server's validated requests → the engine's `Generate` messages. Pure.
"""
