"""The formats in which models write tool calls, one file each, chosen by the template's text.

argument_values.py   `text_piece` and `value_text`: argument values that weren't written as JSON, as JSON.
                     Pure.
firefunction.py      Firefunction's format, also Phi-4's own: a JSON list of all calls behind a word.
functionary_v3_1.py  Functionary's format of v3.1: the name in a tag, the arguments as JSON.
functionary_v3_2.py  Functionary's format of v3.2: each part has a recipient (`all`: content); the prompt ends
                     in `>>>`.
generic.py           The format taught to models whose template knows no tools: Hermes', with marks of plain
                     text.
granite.py           Granite 3's format, a JSON list of all calls behind a mark; Granite 4 writes Hermes'
                     format.
hermes.py            Hermes' format, also Qwen's 2.5 and 3: each call is a JSON object between two marks.
json_call.py         `JsonCall`: reads one call that is a JSON object with a name and arguments, while it
                     comes. Pure.
json_value.py        `JsonValue`: finds the end of a JSON value in text that comes in pieces. Pure.
lark.py              Pieces of llguidance's Lark grammars that the tool formats share. Pure.
lark_parameters.py   Lark expressions of a call's arguments that aren't written as one JSON object. Pure.
listed_calls.py      `ListedCalls`: the kind of formats that write calls as one JSON list behind a mark. Pure.
llama3.py            Llama 3's format: the answer is one JSON object, for built-in tools a Python call behind
                     a mark.
marked_calls.py      `MarkedCalls`: a reader of content with calls behind marks, one call or a list of them.
                     Pure.
mistral_list.py      Mistral's format up to Nemo: a JSON list of all calls behind a mark, some with ids of
                     their own.
mistral_named.py     Mistral's format from Small 3.2 on: for each call a mark, the name, a mark and the
                     arguments.
named_call.py        `NamedCall`: reads one call whose name stands in front of its arguments, a JSON object.
                     Pure.
phi4_mini.py         Phi-4-mini's format: a JSON list of all calls between two marks.
python_call.py       `PythonCall`: reads one call that is written as in Python, with keyword arguments. Pure.
qwen3_coder.py       Qwen3-Coder's XML, also Qwen3.5's, Nemotron 3's, Step 3.5's: arguments are elements of
                     plain text.
registry.py          The tool formats by name, and the one that a chat template's text tells. Pure.
text_buffer.py       `TextBuffer`: text that comes in pieces, taken in parts that no later piece can change.
                     Pure.
thoughts_first.py    `ThoughtsFirst`: splits thoughts off the beginning of an answer, and hands on the rest.
                     Pure.
tool_format.py       `ToolFormat`: how one family of models writes calls: its marks, its grammar, their
                     reader.
xml_parameters.py    `XmlCall`: reads one call whose arguments are elements with a name and plain text as
                     value. Pure.
"""
