"""The readers of calls in text that comes in pieces, which the formats share.

answer_script.py    `AnswerScript`: a reader that is a generator, which reads an answer's text in order. Pure.
argument_values.py  `text_piece` and `value_text`: argument values that weren't written as JSON, as JSON.
                    Pure.
json_call.py        `JsonCall`: reads one call that is a JSON object with a name and arguments, while it
                    comes. Pure.
json_value.py       `JsonValue`: finds the end of a JSON value in text that comes in pieces. Pure.
marked_calls.py     `MarkedCalls`: a reader of content with calls behind marks, one call or a list of them.
                    Pure.
named_call.py       `NamedCall`: reads one call whose name stands in front of its arguments, a JSON object.
                    Pure.
python_call.py      `read_python_call`: reads a call in Python's notation and makes JSON of its arguments.
                    Pure.
text_buffer.py      `TextBuffer`: text that comes in pieces, taken in parts that no later piece can change.
                    Pure.
xml_parameters.py   `XmlCall`: reads one call whose arguments are elements with a name and plain text as
                    value. Pure.
"""
