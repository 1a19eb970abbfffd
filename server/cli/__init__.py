"""The command line, `corral`: one file per command, imported only when it is called.

Nothing here loads llama.cpp.

__main__.py       `python -m server.cli` is the same as `corral`.
console.py        The output of commands: results go to stdout, everything said along the way and the log to
                  stderr.
doctor.py         The command `corral doctor`.
ensure_model.py   The command line's way to a file that can be served: what is missing is made in another
                  process.
json_log.py       `JsonFormatter`: a log line as one JSON object, for programs that collect logs.
model_files.py    The files that a command works on: GGUF files by their references, and texts.
option_groups.py  Option groups: a command takes a dataclass with its flags instead of a parameter for each of
                  them.
program.py        The program `corral`: it runs one command, and turns its error into one line and an exit
                  code.
progress.py       Progress on stderr: a bar on a terminal, elsewhere a line now and then.
reference.py      `stored_reference`: the model that was typed, where a short name is enough for one that is
                  here.
settings.py       The server's settings as flags, made from `ServerConfig`: a field's description is its
                  flag's help.
usage.py          The command `corral usage`.
bench/            `corral bench`: loads against an OpenAI-compatible server, their progress and their report.
chat/             `corral chat`: a conversation in a terminal, with a local model or a running server.
clients/          `corral launch` and `corral connect`: clients that are set up for a running server.
cluster/          `corral cluster`: servers of several machines, one file per command below it.
evaluate/         `corral evaluate`: the loss of quantized files, measured, drawn and reported.
jobs/             The process in which a running server pulls and quantizes: what `corral pull` and `quantize`
                  do.
keys/             `corral keys`: the named API keys of this machine's server, one file per command below it.
lives/            The commands for a running server's models: `corral ps`, `load` and `unload`.
models/           The commands for stored models: `corral pull`, `list`, `show` and `remove`.
quantize/         `corral quantize`, `corral merge` and `corral imatrix`: the commands that write models.
run/              `corral run`: talk to a model, ask it one thing, or serve it, whichever the terminal is for.
serve/            `corral serve`: the server in a terminal, with what it prints on the way.
tune/             `corral tune`: the search for the settings that serve fastest, its progress and its report.
"""

from __future__ import annotations

from server.cli.program import main

__all__ = ["main"]
