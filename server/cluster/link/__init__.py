"""Messages and errors between replicas and API processes, and where the latter are found.

announcements.py  `Announcements`: the addresses of API processes that live, of those that the cluster keeps.
                  Pure.
link_messages.py  The messages between a replica and an API process, in the frames of `server.ipc.frames`.
refusals.py       `Refusal`: an error that a replica answers with, and the error that a caller gets of it.
                  Pure.
"""
