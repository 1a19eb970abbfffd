"""SQLite files under CORRAL_HOME, for what the server keeps: the way to such a file.

A room that keeps something has its own tables and methods, over these two.

state_file.py    `StateFile`: the SQLite file of what is kept, opened anew where it was removed or is damaged.
state_thread.py  `StateThread`: actions on an open state file, in a thread of its own, in the order of the
                 calls.
"""
