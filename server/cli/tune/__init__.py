"""`corral tune`: the search for the settings that serve fastest, its progress and its report.

command.py   The command `corral tune`.
options.py   The options of `corral tune`: the search, and the workload that it makes fast.
progress.py  The output of `corral tune` before its result: the space, and the search as it goes.
report.py    A result of `corral tune` as people and programs read it; `corral show` prints it, too.
"""
