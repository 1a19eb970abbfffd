"""The kinds of formats of which several differ by their marks alone.

framed_calls.py  `FramedCalls`: formats that write a call's name and its JSON between marks of their own.
                 Pure.
listed_calls.py  `ListedCalls`: the kind of formats that write calls as one JSON list behind a mark. Pure.
object_lists.py  `ObjectLists`: formats that write calls as a list or lines of JSON objects between marks.
                 Pure.
tagged_calls.py  `TaggedCalls`: the formats that write each parameter of a call between marks of its own.
                 Pure.
"""
