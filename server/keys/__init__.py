"""API keys: who calls, what that caller may do and how much. Nothing here knows HTTP.

caller.py    `Caller`: whoever has sent a request, with the rights and limits of the key that came with it.
             Pure.
key.py       `Key`: a named API key as it is kept: hashes of its secrets, rights, limits and its end. Pure.
key_file.py  `KeyFile`: the named keys in one file under CORRAL_HOME, changed by commands and read by servers.
key_ring.py  `KeyRing`: the keys that a server knows: its settings', and the file's, read again when it
             changes.
limits.py    `RateLimits`: the requests, tokens and answers at the same time that each limited key has left.
times.py     Times as people write them: `30d`, `12h`, `2026-12-31`; how long ago, or until when. Pure.
"""
