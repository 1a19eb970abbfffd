"""`corral chat`: a conversation in a terminal, with a local model or a running server.

backend.py  `Backend`, the model behind `corral chat`, and the one that runs in a worker of the command's own.
command.py  The command `corral chat`.
input.py    The source of the user's messages: a terminal with line editing and history, or stdin's lines.
options.py  The flags of a talk: `corral chat` and `corral run` have the same.
remote.py   The backend of `corral chat --url`: the model of a running server, through its HTTP API.
session.py  `ChatSession`: messages are read, answers streamed, and commands with a slash obeyed, in a
            terminal.
"""
