"""The API process's end: its replicas, who of them gets a request, and the requests that they have.

choice.py         `choose`: the replica for a request: consistent hashing with bounded loads. Pure.
link_listener.py  `LinkListener`: the API process's end of its replicas' sockets.
peer.py           `Peer`: one replica, as its connection shows it to an API process.
replica_run.py    `ReplicaRun`: runs a request in one replica of a deployment, for `RequestHandle`.
roster.py         `Roster`: the replicas that have a link to this API process, by deployment, and who gets a
                  request.
run_table.py      `RunTable`: the requests that an API process has in replicas, and who gets what is said of
                  them.
"""
