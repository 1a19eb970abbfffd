"""`corral launch` and `corral connect`: clients that are set up for a running server.

connect.py  The command `corral connect`.
launch.py   The command `corral launch`.
options.py  The options that say which running server a client is for.
"""
