"""`corral bench`: loads against an OpenAI-compatible server, their progress and their report.

command.py     The command `corral bench`.
options.py     The options of `corral bench`: the server to load, and the loads.
own_server.py  A `corral serve` of `corral bench`'s own, on a free loopback port.
progress.py    The progress of a level of `corral bench`: a bar on a terminal, elsewhere a line at its end.
report.py      The results of `corral bench` as a table, as JSON and as a drawing.
"""
