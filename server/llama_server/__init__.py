"""llama-server's own API: `/completion`, `/infill`, `/props` and `/slots`, in its fields and forms.

answer.py     `NativeAnswer`: an answer of `/completion` or `/infill`, streamed or whole. Pure.
errors.py     Errors in llama-server's form: its types, and the numbers of a full context. Pure.
schemas.py    Requests of `/completion` and `/infill`, typed and checked; field names are the wire's.
settings.py   `generation_settings`: the object in which llama-server tells a request's parameters. Pure.
to_engine.py  llama-server's validated requests → the engine's `Generate` messages. Pure.
"""
