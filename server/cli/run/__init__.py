"""`corral run`: talk to a model, ask it one thing, or serve it, whichever the terminal is for.

command.py     The command `corral run`.
message.py     The one message of `corral run`: its arguments, and what a pipe brings.
one_answer.py  `answer_once`: one message, and its answer on stdout as it comes.
running.py     `running_backend`: the model of a server that runs already, as this machine's settings say
               where.
"""
