"""The built-in tools: what they do to files and commands, and the child process that does it.

arguments.py  `Arguments`: the arguments of a call, checked as they are read; what a model may name in a path.
child.py      The child process of a built-in tool: a call in by standard input, its result out.
files.py      The tools that read, write and edit one file. They run in the child process.
search.py     The tools that look for files by name, and in files by pattern. They run in the child process.
tools.py      `BUILTIN`: the built-in tools, by llama-server's names and with its parameters.
"""
