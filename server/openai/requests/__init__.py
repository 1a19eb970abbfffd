"""OpenAI's requests: their schemas, their checks, and their translation for the engine.

answer_options.py    `AnswerOptions`: what a request wants of the form of its answer, read once. Pure.
body_limits.py       The bounds on what a request's body may hold, whatever its bytes, and the check of them.
                     Pure.
checks.py            Checks of validated requests: fields that aren't served yet, and fields that contradict.
                     Pure.
field_errors.py      Field errors: pydantic's problems with a body as one error of ours that names the field.
                     Pure.
field_types.py       Field types of the request schemas that need more than a range, with the words of their
                     refusals.
messages.py          The messages of a chat as OpenAI's clients send them, in the canonical form of
                     `ChatPrompt`. Pure.
reading.py           `read`: the bytes of a body as messages for the engine and what its answer needs to know.
                     Pure.
reading_process.py   The process that reads large bodies: `python -m server.openai.requests.reading_process`.
reasoning.py         The wishes of a client about thoughts: if, how hard, how long, and where they are shown.
                     Pure.
response_formats.py  `constraint_of`: the form that a request asks of its answer, in any of its names, as a
                     `Constraint`.
schemas.py           Requests as clients send them: OpenAI's parameters and llama-server's, typed and checked.
to_engine.py         Validated requests → the engine's `Generate` messages. Pure.
tools.py             The tools of a chat as OpenAI's clients send them, the legacy functions too, and the
                     choice. Pure.
"""
