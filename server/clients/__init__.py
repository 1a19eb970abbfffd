"""Programs that use a server: their settings for it, and whether it takes what they send.

`corral launch`, `corral connect` and `corral doctor --client` are made of it. Nothing here knows the server's
insides: a client may be set up for any server with these protocols.

client.py          `Client`: a program that uses a server, as data: its settings, the context it needs, what
                   it sends.
connection.py      `Connection`: requests to a server as a client sends them, and their answers, streamed or
                   not.
documents.py       Settings files as text: JSON with comments and TOML are read, merged with ours, and
                   written. Pure.
examination.py     The examination of a server for a client: each thing that the client needs, and what is
                   missing.
instructions.py    `Instructions`: what to set by hand so that a client uses a server, as text and as JSON.
launch.py          `Launch`: the start of a client that is set up for a server, as a plan to print or carry
                   out.
registry.py        The clients by name: every file in `programs/` is one.
running_server.py  `find_target`: the running server, its models and their context, as a client is set up for
                   them.
trust.py           `trust`: the certificates that a client accepts of a server, and the error of any other.
user_files.py      `UserFiles`: files of the user, changed for a client, each with its backup, and the way
                   back.
programs/          The clients, one file each: its name is the client's, with `-` for `_`, and registers it.
shapes/            The requests that clients send, small and self-made, and what they need of the answers, by
                   protocol.
"""
