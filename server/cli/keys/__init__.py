"""`corral keys`: the named API keys of this machine's server, one file per command below it.

add.py     The command `corral keys add`.
list.py    The command `corral keys list`.
output.py  The parts that the commands of `corral keys` share: the keys' file, and a secret printed once.
remove.py  The command `corral keys remove`.
rotate.py  The command `corral keys rotate`.
"""
