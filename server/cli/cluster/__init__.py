"""`corral cluster`: servers of several machines, one file per command below it.

config.py           The command `corral cluster config`.
connection.py       `connected`: this machine's connection to its cluster, as a command has it while it runs.
deploy.py           The command `corral cluster deploy`.
down.py             The command `corral cluster down`.
join.py             The command `corral cluster join`.
leave.py            The command `corral cluster leave`.
private_network.py  `PrivateNetwork`: the flag that lets a machine of a cluster have an address of the open
                    internet.
share.py            The command `corral cluster share`.
status.py           The command `corral cluster status`.
up.py               The command `corral cluster up`.
"""
