"""Requests of Anthropic's Messages API, from their schemas to the engine's messages.

history.py      `conversation`: Anthropic's messages as a chat's: texts, thoughts, calls and results. Pure.
refusals.py     The errors of a part or a field that can't be served, and the checks that all parts share.
                Pure.
schemas.py      Bodies of Anthropic's Messages API as clients send them, typed and checked.
signatures.py   The signatures of thinking blocks: opaque to clients, which send them back. Pure.
system_text.py  `system_text`: a system prompt as one string, without the line that changes in every request.
                Pure.
to_engine.py    Validated requests of Anthropic's API → the engine's messages, and the form of the answer.
                Pure.
tools.py        `tools_of` and `choice_of`: the tools that the client runs, and which of them may be called.
                Pure.
"""
