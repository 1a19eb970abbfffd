"""The formats in which models write tool calls, one file each, chosen by the template's text.

hermes.py          Hermes' format, also Qwen's 2.5 and 3: each call is a JSON object between two marks.
json_call.py       `JsonCall`: reads one call that is a JSON object with a name and arguments, while it comes.
                   Pure.
json_value.py      `JsonValue`: finds the end of a JSON value in text that comes in pieces. Pure.
lark.py            Pieces of llguidance's Lark grammars that the tool formats share. Pure.
marked_calls.py    `MarkedCalls`: a reader of content with calls between two marks, one object or a list of
                   them. Pure.
registry.py        The tool formats by name, and the one that a chat template's text tells. Pure.
text_buffer.py     `TextBuffer`: text that comes in pieces, taken in parts that no later piece can change.
                   Pure.
thoughts_first.py  `ThoughtsFirst`: splits thoughts off the beginning of an answer, and hands on the rest.
                   Pure.
tool_format.py     `ToolFormat`: how one family of models writes calls: its marks, its grammar, their reader.
"""
