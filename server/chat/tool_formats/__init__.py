"""Tool calls: their formats, chosen by the template's text, with grammars and readers.

lark.py            Pieces of llguidance's Lark grammars that the tool formats share. Pure.
python_literal.py  `python_literal`: the value of a literal in Python's notation, as models write it. Pure.
registry.py        The tool formats by name, and the one that a chat template's text tells. Pure.
thoughts_first.py  `ThoughtsFirst`: splits thoughts off the beginning of an answer, and hands on the rest.
                   Pure.
tool_format.py     `ToolFormat`: how one family of models writes calls: its marks, its grammar, their reader.
formats/           The formats in which models write tool calls, one file each; a file with a `FORMAT` is one.
grammar/           The pieces of grammars that the formats share.
kinds/             The kinds of formats of which several differ by their marks alone.
reading/           The readers of calls in text that comes in pieces, which the formats share.
"""
