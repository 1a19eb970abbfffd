"""An answer's text as its parts: thoughts, content and tool calls, the same for every protocol.

events.py       The parts of an answer, as events: what protocols make their answers of.
read_source.py  `ReadSource`: a request's events, with the answer's parts in place of its text.
reader.py       `AnswerReader`: the step that reads thoughts and tool calls out of an answer's text.
"""
