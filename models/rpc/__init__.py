"""Servers of llama.cpp's RPC protocol, which compute a part of a model that is split over machines.

address.py     `ServerAddress`: the address of an RPC server, as far as llama.cpp can connect to it. Pure.
keep_alive.py  `keep_alive`: has the kernel notice that the other machine of a connection is gone silently.
probe.py       `probe`: asks an RPC server whether llama.cpp could use it, and what memory it has.
"""
