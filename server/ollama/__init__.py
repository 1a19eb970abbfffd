"""Ollama's API, below `/api`: requests in, answers out, in its fields and forms.

abilities.py    `abilities_of`: what Ollama's clients are told that a model can do, by its header. Pure.
answer.py       `OllamaAnswer`: an answer of `/api/chat` or `/api/generate`, as lines of JSON or whole. Pure.
errors.py       Errors in Ollama's form, `{"error": "…"}`. Pure.
form.py         `OllamaForm`: the form of an answer of `/api/chat` or `/api/generate`.
messages.py     The messages of a chat as Ollama's clients send them, in the canonical form of `ChatPrompt`.
                Pure.
model_files.py  `ModelFiles`: what Ollama's clients are told of model files, by their headers.
names.py        Models' names as Ollama's clients have them: `demo:latest`, `hf.co/org/name:Q4_K_M`. Pure.
pulls.py        `Pulls`: a job's events as Ollama's progress, for every client that waits for the same model.
schemas.py      Requests as Ollama's clients send them, typed and checked; field names are the wire's.
times.py        Times as Ollama writes them: RFC 3339, in UTC.
to_engine.py    Ollama's validated requests → the engine's `Generate` messages, and the form of the answer.
                Pure.
"""
