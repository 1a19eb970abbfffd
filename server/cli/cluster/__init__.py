"""`corral cluster`: servers of several machines, one file per command below it.

config.py  The command `corral cluster config`.
share.py   The command `corral cluster share`.
"""
