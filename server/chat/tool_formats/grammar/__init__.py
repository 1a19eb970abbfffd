"""The pieces of grammars that the formats share.

answer_rules.py      Rules of whole answers: text without calls, thoughts, and calls behind text. Pure.
lark_parameters.py   Lark expressions of a call's arguments that aren't written as one JSON object. Pure.
loose_keywords.py    `note_loose`: the keywords of a tool's schema that formats without JSON arguments don't
                     hold. Pure.
marked_strings.py    `MarkedStrings`: rules of values whose strings stand between marks and whose keys are
                     bare. Pure.
nested_elements.py   `NestedElements`: rules of values whose objects and lists are nested elements. Pure.
parameter_schema.py  `Parameter`: one parameter of a tool, for formats that write its value as bare text.
                     Pure.
written_values.py    `WrittenValues`: rules of values in notations that aren't JSON; Python's is one. Pure.
"""
