"""The kinds of formats of which several differ by their marks alone.

framed_calls.py  `FramedCalls`: formats that write a call's name and its JSON between marks of their own.
                 Pure.
object_lists.py  `ObjectLists`: formats that write calls as JSON objects between marks, some in lists. Pure.
tagged_calls.py  `TaggedCalls`: the formats that write each parameter of a call between marks of its own.
                 Pure.
"""
